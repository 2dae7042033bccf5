"""Estimates of information: L_I on fresh codes, and what Q tells apart in given images."""

import torch
from torch import Tensor

from infogan.codes import LatentSpace
from infogan.networks import Networks

CHUNK = 500  # images a forward pass; in eval mode the result does not depend on it


@torch.no_grad()
def fresh_lower_bounds(
    networks: Networks, space: LatentSpace, samples: int, generator: torch.Generator
) -> dict[str, float]:
    """L_I of each code on codes drawn for this purpose, in eval mode, in nats.

    Leaves the networks as they were: no parameter, batch-norm statistic or mode changes.
    """
    training = networks.training
    networks.eval()
    sums = dict.fromkeys(space.codes, 0.0)
    for start in range(0, samples, CHUNK):
        latent = space.sample(min(CHUNK, samples - start), generator)
        _, outputs = networks.discriminator(networks.generator(latent))
        for name, likelihood in space.log_likelihoods(outputs, latent).items():
            sums[name] += likelihood.double().sum().item()
    networks.train(training)
    return {name: sums[name] / samples + entropy for name, entropy in space.entropies().items()}


def category_information(probabilities: Tensor) -> float:
    """H(mean_x Q(c|x)) - mean_x H(Q(c|x)) in nats, of probabilities (N, K).

    How much Q's categories tell about real images. It needs no labels, and follows the
    classification error where L_I, which only sees generated images, no longer does.
    """
    mean = probabilities.double().mean(dim=0)
    each = torch.special.entr(probabilities.double()).sum(dim=1).mean()
    return float(torch.special.entr(mean).sum() - each)
