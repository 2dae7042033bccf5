"""Estimates of information: L_I on fresh codes, and what Q tells apart in given images."""

from collections.abc import Callable

import torch
from torch import Tensor

from infogan.codes import Categorical, LatentSpace
from infogan.networks import Networks, evaluating

CHUNK = 500  # images at a time; in eval mode the result does not depend on it
_PASS = 100  # of them a forward pass on a CPU: whoever interrupts waits for one


@torch.no_grad()
def fresh_lower_bounds(
    networks: Networks,
    space: LatentSpace,
    samples: int,
    generator: torch.Generator,
    pause: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """L_I of each code on codes drawn for this purpose, in eval mode, in nats.

    Leaves the networks as they were: no parameter, batch-norm statistic or mode changes, even if
    ``pause``, called between two passes, raises.
    """
    sums = dict.fromkeys(space.codes, 0.0)
    with evaluating(networks):
        for start in range(0, samples, CHUNK):
            for latent in _passes(space.sample(min(CHUNK, samples - start), generator)):
                pause()
                _, outputs = networks.discriminator(networks.generator(latent))
                for name, likelihood in space.log_likelihoods(outputs, latent).items():
                    sums[name] += likelihood.double().sum().item()
    return {name: sums[name] / samples + entropy for name, entropy in space.entropies().items()}


def _passes(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, _PASS if rows.device.type == "cpu" else CHUNK)


def category_information(probabilities: Tensor) -> float:
    """H(mean_x Q(c|x)) - mean_x H(Q(c|x)) in nats, of probabilities (N, K).

    How much Q's categories tell about real images. It needs no labels, and follows the
    classification error where L_I, which only sees generated images, no longer does.
    """
    mean = probabilities.double().mean(dim=0)
    each = torch.special.entr(probabilities.double()).sum(dim=1).mean()
    return float(torch.special.entr(mean).sum() - each)


@torch.no_grad()
def contrast(
    networks: Networks,
    space: LatentSpace,
    pixel_range: tuple[float, float],
    random: torch.Generator,
    pause: Callable[[], None] = lambda: None,
) -> float:
    """How much generated images differ: the standard deviation of a pixel over fresh images.

    Averaged over pixels, in units of the pixel range: 0 if G always makes the same image.
    ``pause`` is called between two passes, as in ``fresh_lower_bounds``.
    """
    made = []
    with evaluating(networks):
        for latent in _passes(space.sample(CHUNK, random)):
            pause()
            made.append(networks.generator(latent))
    images = torch.cat(made)
    low, high = pixel_range
    return float(images.float().std(dim=0).mean()) / (high - low)


@torch.no_grad()
def read_categories(
    networks: Networks,
    space: LatentSpace,
    images: Tensor,
    pause: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Q(c = k | x) of images (N, C, H, W), by categorical code: (N, K) each, in eval mode.

    ``pause`` is called between two passes, as in ``fresh_lower_bounds``.
    """
    read = []
    with evaluating(networks):
        for chunk in _passes(images):
            pause()
            read.append(networks.discriminator.q_outputs(networks.discriminator.trunk(chunk)))
    outputs = torch.cat(read)
    return {
        name: code.probabilities(outputs[:, place])
        for name, place in space.q_columns()
        if isinstance(code := space.codes[name], Categorical)
    }


def unused(probabilities: Tensor) -> list[int]:
    """Categories that are the likeliest for none of the images, of probabilities (N, K)."""
    return sorted(set(range(probabilities.shape[1])) - set(probabilities.argmax(dim=1).tolist()))
