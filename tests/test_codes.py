"""The latent codes against probability theory: torch's distributions, entropies, bounds."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, OneHotCategorical

from infogan.codes import Categorical, LatentSpace, Uniform
from infogan.options import CategoricalPrior, Model, UniformPrior

N = 20_000


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def categorical(categories: int = 10) -> Categorical:
    return Categorical(CategoricalPrior("c", categories))


def uniform(low: float = -1, high: float = 1, dim: int = 1, spread: Any = "learned") -> Uniform:
    return Uniform(UniformPrior("c", low, high, dim), spread)


def lower_bound(
    make_model: Callable[..., Model], code: str, outputs: Tensor, values: Tensor, **changes: Any
) -> Tensor:
    """L_I of a model of one code, of Q's outputs (n, q) and the code's values (n, width)."""
    space = LatentSpace(make_model(codes=[code], **changes))
    noise = torch.zeros(len(values), space.noise.size)
    bounds = space.lower_bounds(outputs, torch.cat([noise, values], dim=1))
    return bounds[code.split(maxsplit=1)[0]]


# --- Sampling ------------------------------------------------------------------------------------


def is_near(sample: Tensor, mean: float, variance: float) -> None:
    """Mean and variance within five standard errors, columns apart."""
    whole = sample.double()
    n = len(sample)
    bound = 5 * math.sqrt(variance / n)
    assert ((whole.mean(dim=0) - mean).abs() < bound).all()
    fourth = (whole - mean).pow(4).mean().item()
    bound = 5 * math.sqrt((fourth - variance**2) / n) + 25 * variance / n
    assert ((whole.var(dim=0) - variance).abs() < bound).all()


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 4), (-3, -2.5)])
def test_uniform_codes_are_uniform_on_their_range(low: float, high: float) -> None:
    sample = uniform(low, high, dim=2).sample(N, random())
    assert sample.shape == (N, 2)
    assert (sample >= low).all()
    assert (sample < high).all()
    is_near(sample, (low + high) / 2, (high - low) ** 2 / 12)
    assert abs(torch.corrcoef(sample.T)[0, 1]) < 5 / math.sqrt(N)


@pytest.mark.parametrize("categories", [2, 10])
def test_categorical_codes_are_one_hot_and_uniform(categories: int) -> None:
    sample = categorical(categories).sample(N, random())
    assert sample.shape == (N, categories)
    assert torch.equal(sample.sum(dim=1), torch.ones(N))
    assert torch.equal(sample.max(dim=1).values, torch.ones(N))
    p = 1 / categories
    is_near(sample, p, p * (1 - p))


def test_noise_is_uniform_on_minus_1_to_1(make_model: Callable[..., Model]) -> None:
    noise = LatentSpace(make_model(noise="uniform 3")).sample_noise(N, random())
    assert noise.shape == (N, 3)
    assert (noise >= -1).all()
    assert (noise < 1).all()
    is_near(noise, 0, 1 / 3)


def test_noise_may_be_standard_normal(make_model: Callable[..., Model]) -> None:
    noise = LatentSpace(make_model(noise="normal 3")).sample_noise(N, random())
    is_near(noise, 0, 1)
    assert noise.abs().max() > 3


def test_the_same_generator_gives_the_same_latent_vectors(space: LatentSpace) -> None:
    assert torch.equal(space.sample(9, random(1)), space.sample(9, random(1)))
    assert not torch.equal(space.sample(9, random(1)), space.sample(9, random(2)))


def test_sampling_leaves_the_global_random_state_alone(space: LatentSpace) -> None:
    before = torch.get_rng_state()
    space.sample(9, random())
    assert torch.equal(torch.get_rng_state(), before)


# --- Layout --------------------------------------------------------------------------------------


def test_a_latent_vector_is_noise_then_the_codes_in_order(space: LatentSpace) -> None:
    assert dict(space.columns()) == {"c1": slice(4, 7), "c2": slice(7, 8), "c3": slice(8, 10)}
    assert space.size == 10
    generator = random()
    latent = space.sample(5, generator)
    again = random()
    parts = [space.sample_noise(5, again)]
    parts += [code.sample(5, again) for code in space.codes.values()]
    assert torch.equal(latent, torch.cat(parts, dim=1))


def test_qs_output_is_logits_or_means_then_spreads_code_by_code(space: LatentSpace) -> None:
    assert dict(space.q_columns()) == {"c1": slice(0, 3), "c2": slice(3, 5), "c3": slice(5, 9)}
    assert space.q_outputs == 9


def test_of_a_continuous_codes_outputs_the_means_come_first() -> None:
    outputs = torch.rand(6, 6)
    posterior = uniform(dim=3).posterior(outputs)
    assert torch.equal(posterior.mean, outputs[:, :3])
    assert torch.equal(posterior.stddev, outputs[:, 3:].exp())


def test_the_space_gives_each_code_its_own_columns(space: LatentSpace) -> None:
    latent, outputs = space.sample(7, random()), torch.randn(7, 9)
    found = space.log_likelihoods(outputs, latent)
    c1, c2, c3 = space.codes.values()
    assert list(found) == ["c1", "c2", "c3"]
    assert torch.equal(found["c1"], c1.log_likelihood(outputs[:, :3], latent[:, 4:7]))
    assert torch.equal(found["c2"], c2.log_likelihood(outputs[:, 3:5], latent[:, 7:8]))
    assert torch.equal(found["c3"], c3.log_likelihood(outputs[:, 5:], latent[:, 8:]))


# --- Likelihood ----------------------------------------------------------------------------------


def test_the_gaussian_likelihood_is_torchs(float64: None) -> None:
    outputs, codes = 3 * torch.randn(50, 6), torch.rand(50, 3)
    mean, sigma = outputs[:, :3], torch.exp(torch.clamp(outputs[:, 3:], -5, 2))
    expected = Normal(mean, sigma).log_prob(codes).sum(dim=1)
    torch.testing.assert_close(uniform(dim=3).log_likelihood(outputs, codes), expected)


@pytest.mark.parametrize(("raw", "log_sigma"), [(-50, -5), (-5, -5), (0.5, 0.5), (2, 2), (9, 2)])
def test_the_log_spread_is_kept_within_minus_5_and_2(
    float64: None, raw: float, log_sigma: float
) -> None:
    posterior = uniform().posterior(torch.tensor([[0.0, raw]]))
    torch.testing.assert_close(posterior.stddev.log(), torch.tensor([[log_sigma]]).double())


def test_a_fixed_spread_is_1_and_learns_nothing() -> None:
    code = uniform(dim=2, spread="fixed")
    outputs = torch.randn(9, 4, requires_grad=True)
    codes = torch.rand(9, 2)
    expected = Normal(outputs[:, :2], 1.0).log_prob(codes).sum(dim=1)
    likelihood = code.log_likelihood(outputs, codes)
    torch.testing.assert_close(likelihood, expected)
    likelihood.sum().backward()
    assert outputs.grad is not None
    assert torch.equal(outputs.grad[:, 2:], torch.zeros(9, 2))
    assert (outputs.grad[:, :2] != 0).all()


def test_a_learned_spread_gets_a_gradient() -> None:
    outputs = torch.randn(9, 4, requires_grad=True)
    uniform(dim=2).log_likelihood(outputs, torch.rand(9, 2)).sum().backward()
    assert outputs.grad is not None
    assert (outputs.grad != 0).all()


def test_the_categorical_likelihood_is_torchs(float64: None) -> None:
    logits = 5 * torch.randn(50, 10)
    codes = categorical().sample(50, random())
    expected = OneHotCategorical(logits=logits).log_prob(codes)
    torch.testing.assert_close(categorical().log_likelihood(logits, codes), expected)


def test_category_probabilities_are_torchs(float64: None) -> None:
    logits = 5 * torch.randn(50, 10)
    expected = OneHotCategorical(logits=logits).probs
    torch.testing.assert_close(categorical().probabilities(logits), expected)


def test_a_code_of_several_dimensions_is_that_many_independent_codes(float64: None) -> None:
    outputs, codes = torch.randn(20, 6), torch.rand(20, 3)
    one = uniform(0, 4)
    apart = [one.log_likelihood(outputs[:, [d, 3 + d]], codes[:, d : d + 1]) for d in range(3)]
    joint = uniform(0, 4, dim=3)
    torch.testing.assert_close(joint.log_likelihood(outputs, codes), torch.stack(apart).sum(dim=0))
    assert joint.prior.entropy == pytest.approx(3 * one.prior.entropy, rel=1e-15)


# --- Entropy and the bound -----------------------------------------------------------------------


@pytest.mark.parametrize("categories", [2, 10, 20])
def test_the_entropy_of_a_category_is_ln_k(categories: int) -> None:
    expected = OneHotCategorical(probs=torch.ones(categories).double()).entropy().item()
    assert categorical(categories).prior.entropy == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("low", "high", "dim"), [(-1, 1, 1), (0, 4, 1), (0, 0.5, 3)])
def test_the_entropy_of_a_range_is_the_log_of_its_volume(
    low: float, high: float, dim: int
) -> None:
    each = torch.distributions.Uniform(float(low), float(high)).entropy().item()
    assert uniform(low, high, dim).prior.entropy == pytest.approx(dim * each, rel=1e-6)


def test_the_space_knows_every_entropy(space: LatentSpace) -> None:
    expected = {"c1": math.log(3), "c2": math.log(2), "c3": 2 * math.log(4)}
    assert space.entropies() == pytest.approx(expected, rel=1e-12)


def test_a_blind_q_scores_0(make_model: Callable[..., Model], float64: None) -> None:
    codes = categorical().sample(100, random())
    bound = lower_bound(make_model, "c1 categorical 10", torch.full((100, 10), 0.7), codes)
    torch.testing.assert_close(bound, torch.tensor(0.0))


def test_a_perfect_q_reaches_h_of_c(make_model: Callable[..., Model], float64: None) -> None:
    codes = categorical().sample(100, random())
    bound = lower_bound(make_model, "c1 categorical 10", 1000 * codes, codes)
    assert bound.item() == math.log(10)


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 10.0, 1000.0])
def test_no_q_tells_more_than_h_of_c(
    make_model: Callable[..., Model], float64: None, scale: float
) -> None:
    codes = categorical().sample(100, random())
    for _ in range(20):
        right = torch.rand(1) * scale * codes
        outputs = right + scale * torch.randn(100, 10)
        bound = lower_bound(make_model, "c1 categorical 10", outputs, codes)
        assert bound.item() <= math.log(10)


def test_a_wrong_q_scores_below_0(make_model: Callable[..., Model]) -> None:
    codes = categorical().sample(100, random())
    bound = lower_bound(make_model, "c1 categorical 10", 10 * codes.roll(1, dims=1), codes)
    assert bound < 0


def published_estimate(mean: Tensor, codes: Tensor) -> Tensor:
    """MI_cont of openai/InfoGAN at sigma = 1, whose prior term is a cross-entropy to N(0, 1)."""
    prior = -Normal(0.0, 1.0).log_prob(codes).mean()
    return prior + Normal(mean, 1.0).log_prob(codes).mean()


def test_the_published_estimate_is_ours_and_a_constant(
    make_model: Callable[..., Model], float64: None
) -> None:
    # The middles of equal cells: a sample with E[c^2] = 1/3 - 1/(3 n^2).
    codes = ((torch.arange(N) + 0.5) / N * 2 - 1)[:, None]
    outputs = torch.randn(N, 2)
    ours = lower_bound(make_model, "c2 uniform -1 1", outputs, codes, spread="fixed")
    excess = published_estimate(outputs[:, :1], codes) - ours
    exact = 0.5 * math.log(2 * math.pi) + codes.square().mean() / 2 - math.log(2)
    torch.testing.assert_close(excess, exact)
    assert excess.item() == pytest.approx(0.3925, abs=5e-5)


def test_the_published_estimate_is_at_most_a_sixth_of_a_nat(float64: None) -> None:
    codes = ((torch.arange(N) + 0.5) / N * 2 - 1)[:, None]
    assert published_estimate(codes, codes).item() == pytest.approx(1 / 6, abs=1e-8)
    for scale in (0.01, 0.3, 1.0):
        guess = codes + scale * torch.randn(N, 1)
        assert published_estimate(guess, codes).item() < 1 / 6


def test_with_a_spread_of_1_the_bound_of_a_perfect_q_is_negative(
    make_model: Callable[..., Model], float64: None
) -> None:
    codes = uniform().sample(100, random())
    outputs = torch.cat([codes, torch.zeros(100, 1)], dim=1)
    bound = lower_bound(make_model, "c2 uniform -1 1", outputs, codes, spread="fixed")
    torch.testing.assert_close(bound, torch.tensor(math.log(2) - 0.5 * math.log(2 * math.pi)))


def test_the_bound_is_a_mean_over_the_batch(space: LatentSpace) -> None:
    latent, outputs = space.sample(7, random()), torch.randn(7, 9)
    likelihoods, entropies = space.log_likelihoods(outputs, latent), space.entropies()
    for name, bound in space.lower_bounds(outputs, latent).items():
        torch.testing.assert_close(bound, likelihoods[name].mean() + entropies[name])
