"""Minibatches of images: in memory, on the device, or read from the disk one batch ahead."""

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infogan.seeds import ORDER, derive_seed

_CHUNK = 4096  # images that are copied at once
IN_MEMORY = 1 << 30  # bytes; a larger data set stays on disk, so that training needs no more


@dataclass(frozen=True)
class Share:
    """Which of the equal parts of every batch is this process's own; alone, it has the whole."""

    rank: int = 0
    processes: int = 1

    def of(self, whole: Tensor) -> Tensor:
        """The own part, (n, …) -> (n / processes, …)."""
        size = len(whole) // self.processes
        return whole[self.rank * size : (self.rank + 1) * size] if self.processes > 1 else whole


ALONE = Share()


def resident(images: np.ndarray, device: torch.device) -> Tensor | np.ndarray:
    """The uint8 images (N, C, H, W): on the GPU if they take at most half of it, else in memory.

    What is larger than ``IN_MEMORY`` is given back as it came, which is mapped from its file.
    """
    if device.type == "cuda" and images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        return _copied(images, device)
    if images.nbytes > IN_MEMORY:
        return images
    tensor = _copied(images, torch.device("cpu"))  # the file is mapped read-only
    return tensor.pin_memory() if device.type == "cuda" else tensor


def _copied(images: np.ndarray, device: torch.device) -> Tensor:
    """All images on the device, with no more of them in memory than a chunk."""
    copied = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), _CHUNK):
        chunk = torch.from_numpy(np.array(images[start : start + _CHUNK]))
        copied[start : start + len(chunk)].copy_(chunk)
    return copied


def batches(
    images: Tensor | np.ndarray,
    batch_size: int,
    seed: int,
    iteration: int,
    device: torch.device,
    share: Share = ALONE,
) -> Iterator[Tensor]:
    """Endless minibatches on the device, from the given iteration on; of each, the own share.

    Each epoch has a new order, and what is left of it after whole batches is dropped. The order
    follows from seed and epoch alone, so a continued run needs no stored position.
    """
    if isinstance(images, Tensor):
        for order in _orders(len(images), batch_size, seed, iteration, images.device):
            yield images[share.of(order)].to(device, non_blocking=True)
        return
    whole = _orders(len(images), batch_size, seed, iteration, torch.device("cpu"))
    orders = map(share.of, whole)
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(_read, images, next(orders), device)
        while True:
            batch = following.result()
            following = reader.submit(_read, images, next(orders), device)
            yield batch.to(device, non_blocking=True)


def _orders(
    count: int, batch_size: int, seed: int, iteration: int, device: torch.device
) -> Iterator[Tensor]:
    """The numbers of the images of each batch."""
    each_epoch = count // batch_size
    while True:
        epoch, first = divmod(iteration, each_epoch)
        generator = torch.Generator().manual_seed(derive_seed(seed, ORDER, epoch))
        order = torch.randperm(count, generator=generator).to(device)
        yield from order[: each_epoch * batch_size].view(each_epoch, batch_size)[first:]
        iteration += each_epoch - first


def _read(images: np.ndarray, order: Tensor, device: torch.device) -> Tensor:
    """One batch of a mapped file, by reads: pages of a mapping would count as memory in use."""
    if not isinstance(images, np.memmap) or images.filename is None:
        batch = torch.from_numpy(images[order.numpy()])
    else:
        batch = torch.empty((len(order), *images.shape[1:]), dtype=torch.uint8)
        size = images[0].nbytes
        with open(images.filename, "rb", buffering=0) as file:
            for row, number in zip(batch.numpy(), order.tolist(), strict=True):
                file.seek(images.offset + number * size)
                if file.readinto(row.data) != size:  # else the rest would be whatever lay there
                    raise OSError(errno.EIO, "A file of images was cut short", images.filename)
    return batch.pin_memory() if device.type == "cuda" else batch
