"""Estimates of information leave no trace, and agree with entropies known exactly."""

import math
from typing import Any

import pytest
import torch

from infogan.codes import LatentSpace
from infogan.information import (
    CHUNK,
    category_information,
    contrast,
    fresh_lower_bounds,
    read_categories,
    unused,
)
from infogan.networks import Networks, build, evaluating
from infogan.options import Model


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_contrast_is_the_deviation_of_a_pixel_in_units_of_the_range(
    networks: Networks, space: LatentSpace, model: Model
) -> None:
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    found = contrast(networks, space, (0.0, 1.0), random())
    images = networks.eval().generator(space.sample(CHUNK, random()))
    assert found == pytest.approx(images.std(dim=0).mean().item())
    assert contrast(networks, space, (-1.0, 1.0), random()) == pytest.approx(found / 2)
    for name, value in networks.state_dict().items():
        assert torch.equal(value, before[name])
    torch.nn.init.zeros_(networks.generator.layers[-2].weight)  # type: ignore[arg-type]
    assert contrast(networks, space, (0.0, 1.0), random()) == 0


def test_categories_are_read_in_passes_as_at_once(networks: Networks, space: LatentSpace) -> None:
    images = torch.rand(2 * CHUNK + 3, 1, 8, 8)
    with evaluating(networks):
        outputs = networks.discriminator(images)[1]
    read = read_categories(networks, space, images)
    assert set(read) == {"c1"}
    torch.testing.assert_close(read["c1"], outputs[:, :3].softmax(dim=1))


def test_categories_are_unused_if_they_are_the_likeliest_of_no_image() -> None:
    probabilities = torch.tensor(
        [[0.4, 0.0, 0.6, 0.0], [0.3, 0.3, 0.4, 0.0], [0.9, 0.1, 0.0, 0.0]]
    )
    assert unused(probabilities) == [1, 3]
    assert unused(probabilities[:2]) == [0, 1, 3]


@pytest.mark.parametrize("eval_part", [True, False])
def test_every_module_goes_back_to_its_own_mode(networks: Networks, eval_part: bool) -> None:
    networks.train()
    networks.generator.train(not eval_part)

    def fail() -> None:
        with evaluating(networks):
            assert not any(module.training for module in networks.modules())
            raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        fail()
    assert networks.discriminator.trunk.training
    assert networks.generator.layers.training == (not eval_part)


def test_measuring_can_be_broken_off(networks: Networks, space: LatentSpace) -> None:
    calls = []

    def pause() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh_lower_bounds(networks.train(), space, 3 * CHUNK, random(), pause)
    assert networks.training
