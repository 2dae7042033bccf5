"""Several processes that train one model: what they exchange.

Each has its share of every batch. DistributedDataParallel averages the gradients, which are those
of the whole batch, since losses are means and shares are equal. Batch norm, where it is
synchronised, has the statistics of the whole batch, too; so that all processes together compute
what one would, but for rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from infogan.batches import ALONE, Share
from infogan.networks import Discriminator, Judgement
from infogan.training import State

Value = TypeVar("Value")


@dataclass(frozen=True)
class Peers:
    """The processes of one training, seen from one of them. Everybody must call what is called.

    Alone, each method gives what it is given.
    """

    share: Share = ALONE

    @property
    def alone(self) -> bool:
        """There is no other."""
        return self.share.processes == 1

    @property
    def first(self) -> bool:
        """Only the first one writes, tracks and speaks."""
        return self.share.rank == 0

    def mean(self, numbers: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.alone:
            return numbers
        total = numbers.detach().clone()
        distributed.all_reduce(total)
        return total / self.share.processes

    def any(self, flag: bool) -> bool:
        """Whether it is true for one of them."""
        if self.alone:
            return flag
        flags = torch.tensor(int(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def from_first(self, get: Callable[[], Value]) -> Value:
        """What the first one gets; no other tries."""
        if self.alone:
            return get()
        parcel: list[Any] = [get() if self.first else None]
        distributed.broadcast_object_list(parcel, src=0, device=torch.device("cpu"))
        value: Value = parcel[0]
        return value


def distribute(state: State, *, synchronised: bool) -> None:
    """Let the state's steps average gradients and, if ``synchronised``, batch-norm statistics."""
    networks = state.networks
    if synchronised:
        synchronise(networks)
    state.everybody = _everybody
    # Running statistics become those of the first process; only those of replicas differ.
    state.judge = DistributedDataParallel(_Judge(networks.discriminator))
    state.generate = DistributedDataParallel(networks.generator)


def _everybody(rows: Tensor) -> Tensor:
    """The rows of all processes: (n, k) -> (processes * n, k), differentiable."""
    gathered: Tensor = _Gather.apply(rows)  # (n, processes, k)
    return gathered.flatten(0, 1)


class _Judge(nn.Module):
    """``Discriminator.judge`` as a module, which is what can be distributed."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, fake: Tensor, *others: Tensor, **how: bool) -> Judgement:
        return self.discriminator.judge(real, fake, *others, **how)


# --- Batch norm ----------------------------------------------------------------------------------


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm with the statistics of all processes' batches, which are of equal size.

    In place of torch's SyncBatchNorm, which needs a GPU: what is tested is what is used.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (n, C, …) will do."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.to(self.weight.dtype)  # statistics are never in half precision
        others = [dim for dim in range(x.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]

        variances, means = _Gather.apply(torch.stack(torch.var_mean(x, others, correction=0)))
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        with torch.no_grad():
            count = x.numel() // x.shape[1] * distributed.get_world_size()
            assert self.momentum is not None
            for statistic, value in (
                (self.running_mean, mean),
                (self.running_var, variance * (count / (count - 1))),
            ):
                assert statistic is not None
                statistic.lerp_(value, self.momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised: Tensor = (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)


def synchronise(networks: nn.Module) -> None:
    """Replace every batch norm by a synchronised one with the same parameters and statistics."""
    for module in list(networks.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                other = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum)
                other.weight, other.bias = child.weight, child.bias
                other.running_mean, other.running_var = child.running_mean, child.running_var
                other.num_batches_tracked = child.num_batches_tracked
                setattr(module, name, other)


class _Gather(torch.autograd.Function):
    """Of k rows of numbers, those of all processes: (k, C) -> (k, processes, C).

    Backwards, everybody's gradients of the own numbers add up.
    """

    @staticmethod
    def forward(_context: Any, numbers: Tensor) -> Tensor:
        processes = distributed.get_world_size()
        gathered = numbers.new_zeros(len(numbers), processes, *numbers.shape[1:])
        gathered[:, distributed.get_rank()] = numbers
        distributed.all_reduce(gathered)
        return gathered

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[:, distributed.get_rank()]
