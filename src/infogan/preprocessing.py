"""From images as distributed to images of one shape.

Large data sets are read by several processes, a chunk of images at a time, and an interrupted run
goes on where it stopped.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from infogan.errors import Rejected, UserError
from infogan.files import atomic
from infogan.options import Shape, Slice, Transform, format_shape
from infogan.parallel import cores, map_in_processes

CHUNK = 256  # images that a process prepares at a time
PARALLEL_FROM = 2 * CHUNK  # fewer are not worth the start of processes

Images = Sequence[np.ndarray] | np.ndarray


@dataclass(frozen=True)
class Prepared:
    """The images of a slice that can be used, and what became of the others."""

    images: np.ndarray  # uint8 (N, C, H, W), memory-mapped
    kept: np.ndarray  # int64 (N,), their numbers in the raw split
    rejected: tuple[tuple[str, str], ...]  # name and reason of each of the others


class TooManyRejected(Exception):
    """More images of a slice than allowed cannot be used: name and reason of each so far."""

    def __init__(self, rejected: tuple[tuple[str, str], ...]) -> None:
        super().__init__(f"{len(rejected)} images rejected")
        self.rejected = rejected


class Joined(Sequence[np.ndarray]):
    """Several runs of images as one."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.in_memory = all(map(_in_memory, parts))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        place = int(np.searchsorted(self._ends, number, side="right"))
        before = int(self._ends[place - 1]) if place else 0
        return self._parts[place][number - before]


def _in_memory(images: Images) -> bool:
    """Whether they are arrays, which need no decoding and are too large to be sent around."""
    return isinstance(images, np.ndarray) or (isinstance(images, Joined) and images.in_memory)


# --- One image -----------------------------------------------------------------------------------


def compose(transforms: Sequence[Transform]) -> Callable[[np.ndarray], np.ndarray]:
    """The transforms as one function of a uint8 image (C, H, W).

    It raises ``Rejected`` for an image smaller than what shall be cut out of it. By numpy and
    Pillow: torch would cost every process that reads images seconds and 700 MB.
    """

    def apply(image: np.ndarray) -> np.ndarray:
        for transform in transforms:
            image = _transformed(image, transform)
        return image

    return apply


def _transformed(image: np.ndarray, transform: Transform) -> np.ndarray:
    if transform.kind == "grayscale":
        return _gray(image) if len(image) == 3 else image
    if transform.kind == "rgb":
        return image.repeat(3, axis=0) if len(image) == 1 else image
    if transform.kind == "resize":
        assert transform.size is not None
        return np.stack([_resized(channel, *transform.size) for channel in image])
    return _cropped(image, transform)


def _gray(colours: np.ndarray) -> np.ndarray:
    """The luminance 0.299 R + 0.587 G + 0.114 B, rounded: (3, H, W) -> (1, H, W)."""
    bands = [Image.fromarray(channel) for channel in colours]
    return np.asarray(Image.merge("RGB", bands).convert("L"))[None]


def _resized(channel: np.ndarray, height: int, width: int) -> np.ndarray:
    """By area: a pixel is the mean of what lies below it and, the less the farther, around it.

    Its weights fall from its middle to those of its neighbours, in each direction; enlarged, that
    is linear interpolation. Pillow computes in integers, so the same everywhere.
    """
    return np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))


def _cropped(image: np.ndarray, transform: Transform) -> np.ndarray:
    """The middle of an image; a margin of half a pixel is rounded to an even number of pixels."""
    height, width = image.shape[1:]
    wanted = transform.size or (min(height, width),) * 2
    if height < wanted[0] or width < wanted[1]:
        raise Rejected(f"is {height}x{width}, too small for '{transform}'")
    top, left = round((height - wanted[0]) / 2), round((width - wanted[1]) / 2)
    return image[:, top : top + wanted[0], left : left + wanted[1]]


@dataclass(frozen=True)
class _Job:
    """What a process needs to prepare any image of a split."""

    images: Images
    names: Sequence[str] | None
    split: str
    transforms: tuple[Transform, ...]
    shape: Shape
    isolated: bool

    def run(
        self, numbers: range, apply: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """The usable images of these numbers, and number and reason of the others."""
        found, rejected = [], []
        for number in numbers:
            try:
                image = apply(self.images[number])
            except Rejected as reason:
                rejected.append((number, str(reason)))
                continue
            if image.shape != self.shape:
                raise UserError(
                    f"image {self.name(number)} of {self.split} is {format_shape(image.shape)} "
                    f"after data.transforms, but data.shape is {format_shape(self.shape)}."
                )
            found.append(image)
        return np.array(found, np.uint8).reshape(-1, *self.shape), rejected

    def name(self, number: int) -> str:
        return self.names[number] if self.names is not None else str(number)


# --- Many images ---------------------------------------------------------------------------------


def prepare(
    images: Images,
    names: Sequence[str] | None,
    part: Slice,
    transforms: Sequence[Transform],
    shape: Shape,
    scratch: Path,
    identity: str,
    max_rejected: int,
    *,
    isolated: bool = False,
) -> Prepared:
    """The images of a slice, transformed and collected in ``<scratch>.part``.

    ``identity`` names what is made of what: what an interrupted call with the same identity left
    in the scratch files is taken over. ``isolated`` images are never read in this process.
    UserError if an image does not end in ``shape``, TooManyRejected if more than ``max_rejected``
    are useless; what was done until then is kept.
    """
    job = _Job(images, names, part.split, tuple(transforms), shape, isolated)
    rows, progress = scratch.with_suffix(".part"), scratch.with_suffix(".json")
    done, rejected = _resume(progress, identity, part)
    row_bytes = int(np.prod(shape))
    if not rows.exists() or rows.stat().st_size < (done - part.first - len(rejected)) * row_bytes:
        done, rejected = part.first, []
    _refuse_too_many(job, rejected, max_rejected)
    with rows.open("r+b" if rows.exists() else "w+b") as file:
        file.truncate((done - part.first - len(rejected)) * row_bytes)
        file.seek(0, os.SEEK_END)
        todo = [
            range(start, min(start + CHUNK, part.last)) for start in range(done, part.last, CHUNK)
        ]
        with tqdm(
            total=part.last - part.first,
            initial=done - part.first,
            desc=f"{part}",
            unit="image",
            disable=not _in_processes(job, part.last - done),
            mininterval=0.5 if sys.stderr.isatty() else 15,
        ) as bar:
            for numbers, (found, bad) in zip(todo, _results(job, todo), strict=True):
                _append(file, found, rows)
                rejected += bad
                state = {"identity": identity, "done": numbers.stop, "rejected": rejected}
                with atomic(progress) as temporary:
                    temporary.write_text(json.dumps(state))
                _refuse_too_many(job, rejected, max_rejected)
                bar.update(len(numbers))
    bad_numbers = [number for number, _ in rejected]
    kept = np.setdiff1d(np.arange(part.first, part.last), bad_numbers)
    if len(kept) == 0:
        raise UserError(f"{part} has no image that can be used.")
    return Prepared(
        np.memmap(rows, np.uint8, "r", shape=(len(kept), *shape)),
        kept,
        _named(job, rejected),
    )


def _append(file: BinaryIO, rows: np.ndarray, path: Path) -> None:
    try:
        file.write(rows.data)
        file.flush()
        os.fsync(file.fileno())  # before it is noted as done
    except OSError as error:  # a full disk, which does not say of which file it speaks
        raise OSError(error.errno, error.strerror, str(path)) from error


def _resume(progress: Path, identity: str, part: Slice) -> tuple[int, list[tuple[int, str]]]:
    """How far an interrupted call came, and what it rejected."""
    try:
        state = json.loads(progress.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return part.first, []
    if state["identity"] != identity:
        return part.first, []
    return state["done"], [(number, reason) for number, reason in state["rejected"]]


def _refuse_too_many(job: _Job, rejected: list[tuple[int, str]], limit: int) -> None:
    if len(rejected) > limit:
        raise TooManyRejected(_named(job, rejected))


def _named(job: _Job, rejected: list[tuple[int, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((job.name(number), reason) for number, reason in rejected)


def _in_processes(job: _Job, count: int) -> bool:
    many = not _in_memory(job.images) and count > PARALLEL_FROM and cores() > 1
    return many or job.isolated


Result = tuple[np.ndarray, list[tuple[int, str]]]


def _results(job: _Job, todo: Sequence[range]) -> Iterator[Result]:
    """What became of each chunk, in order."""
    if _in_processes(job, sum(len(numbers) for numbers in todo)):
        yield from map_in_processes(_work, [(numbers,) for numbers in todo], _begin, (job,))
    elif todo:
        apply = compose(job.transforms)
        yield from (job.run(numbers, apply) for numbers in todo)


_worker: tuple[_Job, Callable[[np.ndarray], np.ndarray]]


def _begin(job: _Job) -> None:
    global _worker  # noqa: PLW0603
    _worker = job, compose(job.transforms)


def _work(numbers: range) -> Result:
    job, apply = _worker
    return job.run(numbers, apply)
