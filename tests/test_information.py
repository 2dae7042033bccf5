"""Estimates of information leave no trace, and agree with entropies known exactly."""

import math
from typing import Any

import pytest
import torch

from infogan.codes import LatentSpace
from infogan.information import CHUNK, category_information, fresh_lower_bounds
from infogan.networks import Networks, build
from infogan.options import Model


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def space(model: Model) -> LatentSpace:
    return LatentSpace(model)


@pytest.fixture
def networks(model: Model) -> Networks:
    networks = build(model, (1, 8, 8), seed=0)
    networks.discriminator(networks.generator(torch.randn(50, model.latent_size)))
    return networks


@pytest.mark.parametrize("mode", [True, False])
def test_measuring_leaves_the_networks_as_they_were(
    networks: Networks, space: LatentSpace, mode: bool
) -> None:
    networks.train(mode)
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    fresh_lower_bounds(networks, space, 100, random())
    assert {module.training for module in networks.modules()} == {mode}
    for name, value in networks.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in networks.parameters())


def test_the_same_seed_measures_the_same(networks: Networks, space: LatentSpace) -> None:
    first = fresh_lower_bounds(networks, space, 100, random(1))
    torch.manual_seed(7)
    assert fresh_lower_bounds(networks, space, 100, random(1)) == first
    assert fresh_lower_bounds(networks, space, 100, random(2)) != first


def test_measuring_does_not_depend_on_the_mode_of_the_networks(
    networks: Networks, space: LatentSpace
) -> None:
    training = fresh_lower_bounds(networks.train(), space, 100, random())
    assert fresh_lower_bounds(networks.eval(), space, 100, random()) == training


@pytest.mark.parametrize("samples", [1, CHUNK, 2 * CHUNK + 7])
def test_every_fresh_code_counts_once(
    networks: Networks, space: LatentSpace, float64: None, samples: int
) -> None:
    networks = networks.double().eval()
    generator = random()
    sizes = [CHUNK] * (samples // CHUNK) + [samples % CHUNK] * (samples % CHUNK > 0)
    latent = torch.cat([space.sample(size, generator) for size in sizes])
    _, outputs = networks.discriminator(networks.generator(latent))
    expected = {name: b.item() for name, b in space.lower_bounds(outputs, latent).items()}
    found = fresh_lower_bounds(networks, space, samples, random())
    assert found == pytest.approx(expected, rel=1e-9)


def test_untrained_mnist_networks_know_nothing(mnist: dict[str, Any]) -> None:
    model = Model.model_validate(mnist["model"])
    networks = build(model, (1, 28, 28), seed=0)
    found = fresh_lower_bounds(networks, LatentSpace(model), 500, random())
    assert abs(found["c1"]) < 0.3
    # Means near 0 and spreads near 1, whatever the code: E[log N(c; 0, 1)] + ln 2.
    ignorant = math.log(2) - 0.5 * math.log(2 * math.pi) - 1 / 6
    assert found["c2"] == pytest.approx(ignorant, abs=0.1)
    assert found["c3"] == pytest.approx(ignorant, abs=0.1)


def test_equal_opinions_on_all_images_carry_no_information() -> None:
    probabilities = torch.rand(10).softmax(dim=0).repeat(50, 1)
    assert category_information(probabilities) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("categories", [2, 10])
def test_a_balanced_certain_assignment_carries_ln_k(categories: int) -> None:
    probabilities = torch.eye(categories).repeat(5, 1)
    assert category_information(probabilities) == pytest.approx(math.log(categories), rel=1e-12)


def test_a_certain_assignment_carries_the_entropy_of_its_shares() -> None:
    probabilities = torch.eye(3)[[0, 0, 1, 2]]
    expected = torch.distributions.Categorical(torch.tensor([0.5, 0.25, 0.25])).entropy()
    assert category_information(probabilities) == pytest.approx(expected.item(), rel=1e-6)


def test_category_information_is_the_mutual_information_of_the_joint_table() -> None:
    probabilities = torch.randn(40, 6).double().softmax(dim=1)
    joint = probabilities / 40
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    expected = (joint * (joint / independent).log()).sum().item()
    assert category_information(probabilities) == pytest.approx(expected, rel=1e-9)
