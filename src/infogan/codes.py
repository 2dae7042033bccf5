"""The latent codes: sampling from P(c), the likelihood log Q(c|x), and the bound L_I.

Paper, sections 4-6 and Appendix C. Everything is in nats. Letters in shapes: n batch, K
categories, d dimensions of a continuous code, L units of the generator's input, q units of Q's
output.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from infogan.options import CategoricalPrior, Model, Noise, Prior, UniformPrior

# The spread of Q is the exponential of a network output (Appendix C). Unclamped, a collapsing
# sigma makes Q's gradient swamp every other.
LOG_SPREAD_LIMITS = (-5.0, 2.0)
_LOG_ROOT_2_PI = math.log(2 * math.pi) / 2


class Categorical:
    """c ~ Cat(K), uniform; Q(c|x) is a softmax over K logits."""

    def __init__(self, prior: CategoricalPrior) -> None:
        self.prior = prior

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """One-hot codes, (n, K)."""
        # scatter_ rather than one_hot, which checks its values and so waits for a GPU.
        categories = torch.randint(
            self.prior.categories, (count, 1), generator=generator, device=generator.device
        )
        codes = torch.zeros(count, self.prior.categories, device=generator.device)
        return codes.scatter_(1, categories, 1.0)

    def log_likelihood(self, outputs: Tensor, codes: Tensor) -> Tensor:
        """Log Q(c|x) of logits and one-hot codes: (n, K), (n, K) -> (n,)."""
        return (outputs.log_softmax(dim=1) * codes).sum(dim=1)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Q(c = k | x): (n, K) -> (n, K)."""
        return outputs.softmax(dim=1)


class Uniform:
    """c ~ U(low, high)^d; Q(c|x) is a Gaussian with diagonal covariance.

    Q's outputs are d means, then d raw spreads o. Learned spread: sigma = exp(o), o clamped to
    [-5, 2]. Fixed spread, as in the published code's MNIST run: sigma = 1 and o unused.
    """

    def __init__(self, prior: UniformPrior, spread: Literal["learned", "fixed"]) -> None:
        self.prior = prior
        self.spread = spread

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Codes in [low, high), (n, d)."""
        codes = torch.empty(count, self.prior.dim, device=generator.device)
        return codes.uniform_(self.prior.low, self.prior.high, generator=generator)

    def posterior(self, outputs: Tensor) -> torch.distributions.Normal:
        """Q(c|x) as a distribution over (n, d), of outputs (n, 2d)."""
        mean, raw = outputs[:, : self.prior.dim], outputs[:, self.prior.dim :]
        if self.spread == "fixed":
            return torch.distributions.Normal(mean, torch.ones_like(mean), validate_args=False)
        sigma = raw.clamp(*LOG_SPREAD_LIMITS).exp()
        return torch.distributions.Normal(mean, sigma, validate_args=False)

    def log_likelihood(self, outputs: Tensor, codes: Tensor) -> Tensor:
        """Log Q(c|x), summed over dimensions: (n, 2d), (n, d) -> (n,)."""
        mean, raw = outputs.chunk(2, dim=1)
        # In few operations: a GPU takes longer to begin one than to carry it out.
        if self.spread == "fixed":
            halved = (codes - mean).square().sum(dim=1) / 2
        else:
            log_sigma = raw.clamp(*LOG_SPREAD_LIMITS)
            scaled = (codes - mean) * torch.exp(-log_sigma)
            halved = torch.addcmul(log_sigma, scaled, scaled, value=0.5).sum(dim=1)
        return -halved - self.prior.dim * _LOG_ROOT_2_PI


Code = Categorical | Uniform


def _code(prior: Prior, spread: Literal["learned", "fixed"]) -> Code:
    if isinstance(prior, CategoricalPrior):
        return Categorical(prior)
    return Uniform(prior, spread)


class LatentSpace:
    """Noise z and codes c_1 … c_L side by side, in the order [z, c_1, …] of the published code."""

    def __init__(self, model: Model) -> None:
        self.noise: Noise = model.noise
        self.codes: dict[str, Code] = {
            prior.name: _code(prior, model.spread) for prior in model.codes
        }
        self.size = model.latent_size
        self.q_outputs = model.q_outputs

    def entropies(self) -> dict[str, float]:
        """Analytic H(c_i) of each code; for a continuous code a differential entropy."""
        return {name: code.prior.entropy for name, code in self.codes.items()}

    def sample_noise(self, count: int, generator: torch.Generator) -> Tensor:
        """z, (n, noise.size), uniform on [-1, 1) or standard normal."""
        shape = (count, self.noise.size)
        if self.noise.distribution == "normal":
            return torch.randn(shape, generator=generator, device=generator.device)
        noise = torch.empty(shape, device=generator.device)
        return noise.uniform_(-1, 1, generator=generator)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Latent vectors, (n, L), on the generator's device."""
        noise = self.sample_noise(count, generator)
        codes = [code.sample(count, generator) for code in self.codes.values()]
        return torch.cat([noise, *codes], dim=1)

    def columns(self) -> Iterator[tuple[str, slice]]:
        """Where each code stands in a latent vector."""
        start = self.noise.size
        for name, code in self.codes.items():
            yield name, slice(start, start + code.prior.width)
            start += code.prior.width

    def q_columns(self) -> Iterator[tuple[str, slice]]:
        """Where each code's parameters stand in Q's output."""
        start = 0
        for name, code in self.codes.items():
            yield name, slice(start, start + code.prior.outputs)
            start += code.prior.outputs

    def log_likelihoods(self, outputs: Tensor, latent: Tensor) -> dict[str, Tensor]:
        """Log Q(c_i|x) of each code: (n, q), (n, L) -> (n,) per code."""
        codes = self.codes.values()
        # Split at once: then the gradient is put together at once, too.
        parameters = torch.split(outputs, [code.prior.outputs for code in codes], dim=1)
        widths = [self.noise.size, *(code.prior.width for code in codes)]
        _, *values = torch.split(latent, widths, dim=1)
        return {
            name: code.log_likelihood(its_parameters, its_values)
            for (name, code), its_parameters, its_values in zip(
                self.codes.items(), parameters, values, strict=True
            )
        }

    def lower_bounds(self, outputs: Tensor, latent: Tensor) -> dict[str, Tensor]:
        """L_I of each code (eq. 5), mean over the batch: E[log Q(c_i|x)] + H(c_i), a scalar each.

        Categorical: at most ln K, reached by a perfect Q. Continuous: the entropy is differential,
        so with a learned spread L_I may exceed it; with spread 1 and U(-1, 1) it stays below
        -0.2258.
        """
        likelihoods = self.log_likelihoods(outputs, latent)
        return {
            name: likelihood.mean() + self.codes[name].prior.entropy
            for name, likelihood in likelihoods.items()
        }
