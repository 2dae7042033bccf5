"""Networks of layer lines: the paper's sizes, TensorFlow's padding, the published start."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from infogan.errors import UserError
from infogan.networks import (
    Networks,
    build,
    initialise,
    rebuild,
    to_arrays,
    to_pixels,
    to_uint8,
)
from infogan.options import CategoricalPrior, Model, UniformPrior

# --- The paper's five experiments (Tables 1-4 and 6) ---------------------------------------------

ROOT = Path(__file__).parents[1]

# image shape, generator input, Q outputs, parameters of (G, trunk, D head, Q head)
SIZES = {
    "mnist": ((1, 28, 28), 74, 14, (6_652_481, 6_558_144, 1_025, 133_262)),
    "svhn": ((3, 32, 32), 168, 48, (2_800_835, 659_648, 4_097, 530_864)),
    "celeba": ((3, 32, 32), 228, 100, (2_908_355, 659_648, 4_097, 537_572)),
    "faces": ((1, 32, 32), 133, 10, (8_684_737, 8_524_224, 1_025, 10_250)),
    "chairs": ((1, 64, 64), 189, 62, (19_778_625, 19_536_576, 1_025, 63_550)),
}
# H(c) of the categorical and of the continuous codes
ENTROPIES = {
    "mnist": (math.log(10), 2 * math.log(2)),
    "svhn": (4 * math.log(10), 4 * math.log(2)),
    "celeba": (10 * math.log(10), 0.0),
    "faces": (0.0, 5 * math.log(2)),
    "chairs": (3 * math.log(20), math.log(2)),
}


@pytest.fixture
def experiment() -> Callable[..., Model]:
    """The model of one experiment of the paper, as its parameter file has it."""

    def make(name: str) -> Model:
        path = ROOT / "conf" / "base" / f"parameters_{name}.yml"
        return Model.model_validate(yaml.safe_load(path.read_text())[name]["model"])

    return make


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_the_papers_networks_have_the_papers_sizes(
    experiment: Callable[..., Model], name: str
) -> None:
    model = experiment(name)
    image_shape, latent_size, q_outputs, counts = SIZES[name]
    assert model.latent_size == latent_size
    assert model.q_outputs == q_outputs
    model.check_image_shape(image_shape)
    with torch.device("meta"):
        networks = Networks(model, image_shape)
        images = networks.generator(torch.empty(2, latent_size))
        d_logit, outputs = networks.discriminator(images)
    assert images.shape == (2, *image_shape)
    assert d_logit.shape == (2,)
    assert outputs.shape == (2, q_outputs)
    d = networks.discriminator
    parts = (networks.generator, d.trunk, d.d_head, d.q_head)
    assert tuple(parameters(part) for part in parts) == counts
    assert parameters(networks) == sum(counts)


@pytest.mark.parametrize("name", ENTROPIES)
def test_the_papers_codes_have_the_papers_entropies(
    experiment: Callable[..., Model], name: str
) -> None:
    codes = experiment(name).codes
    categorical = sum(code.entropy for code in codes if isinstance(code, CategoricalPrior))
    continuous = sum(code.entropy for code in codes if isinstance(code, UniformPrior))
    assert (categorical, continuous) == pytest.approx(ENTROPIES[name], rel=1e-12)


# --- Convolutions --------------------------------------------------------------------------------


def layer(
    line: str, image_shape: tuple[int, int, int], make: Callable[..., Model]
) -> tuple[nn.Module, nn.Conv2d | nn.ConvTranspose2d]:
    """What a network makes of one line, and in it the convolution, without bias."""
    trunk = Networks(make(trunk=[line]), image_shape).discriminator.trunk
    (convolution,) = (m for m in trunk if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return trunk, convolution


def same_padding(size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME: enough for ceil(size / stride) outputs, the odd one at the end."""
    total = (math.ceil(size / stride) - 1) * stride + 4 - size
    return total // 2, total - total // 2


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_pads_as_tensorflow_does(
    make_model: Callable[..., Model], float64: None, stride: int
) -> None:
    line, convolution = layer(f"conv 5 s{stride}", (3, 8, 6), make_model)
    images = torch.randn(2, 3, 8, 6)
    padding = (*same_padding(6, stride), *same_padding(8, stride))
    expected = conv2d(pad(images, padding), convolution.weight, stride=stride)
    torch.testing.assert_close(line(images), expected)


def test_a_convolution_of_stride_1_pads_1_before_and_2_after() -> None:
    assert same_padding(8, 1) == (1, 2)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_upconvolution_is_the_adjoint_of_a_convolution(
    make_model: Callable[..., Model], float64: None, stride: int
) -> None:
    line, convolution = layer(f"conv 5 s{stride}", (3, 8, 6), make_model)
    upline, upconvolution = layer(f"upconv 3 s{stride}", (5, 8 // stride, 6 // stride), make_model)
    # (out, in, 4, 4) of a convolution is (in, out, 4, 4) of its transpose.
    upconvolution.weight = convolution.weight
    for _ in range(5):
        x, y = torch.randn(1, 3, 8, 6), torch.randn(1, 5, 8 // stride, 6 // stride)
        down, up = line(x), upline(y)
        assert down.shape == y.shape
        assert up.shape == x.shape
        torch.testing.assert_close((down * y).sum(), (x * up).sum())


# --- Order of modules and behaviour --------------------------------------------------------------


@pytest.fixture
def networks(model: Model) -> Networks:
    return build(model, (1, 8, 8), seed=0)


def test_a_layer_comes_before_batch_norm_and_that_before_its_activation(
    make_model: Callable[..., Model],
) -> None:
    model = make_model(trunk=["conv 6 s2 bn lrelu", "fc 5 bn relu"])
    trunk = Networks(model, (1, 8, 8)).discriminator.trunk
    expected = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    expected += [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert len(trunk) == len(expected)
    assert all(isinstance(module, kind) for module, kind in zip(trunk, expected, strict=True))


def test_a_fully_connected_layer_is_that_of_torch(networks: Networks, float64: None) -> None:
    layer = networks.generator.layers[0].double()
    assert isinstance(layer, nn.Linear)
    found = []
    for forward in (layer, lambda x: nn.functional.linear(x, layer.weight, layer.bias)):
        x = torch.arange(7.0 * layer.in_features).view(7, -1).sin().requires_grad_()
        y = forward(x)
        assert y.is_contiguous()
        found.append([y, *torch.autograd.grad(y.tanh().sum(), (x, layer.weight, layer.bias))])
    torch.testing.assert_close(*found)
    assert [each.stride() for each in found[0]] == [each.stride() for each in found[1]]


def test_a_fully_connected_layer_computes_no_gradient_in_vain(networks: Networks) -> None:
    layer = networks.generator.layers[0]
    y = layer.requires_grad_(False)(torch.ones(3, 10, requires_grad=True))
    of_x, of_weight, of_bias = y.grad_fn.apply(torch.ones_like(y))
    assert of_x is not None
    assert of_weight is None
    assert of_bias is None
    assert not layer(torch.ones(3, 10)).requires_grad


def test_a_fully_connected_layer_normalises_its_units_before_it_opens(networks: Networks) -> None:
    first, second = networks.generator.layers[:2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.BatchNorm1d)


@pytest.mark.parametrize("slope", [0.1, 0.01])
def test_the_leaky_slope_is_the_models(make_model: Callable[..., Model], slope: float) -> None:
    networks = Networks(make_model(leaky_slope=slope), (1, 8, 8))
    leaky = [module for module in networks.modules() if isinstance(module, nn.LeakyReLU)]
    assert len(leaky) == 3
    assert {module.negative_slope for module in leaky} == {slope}


def test_every_layer_has_a_bias(networks: Networks) -> None:
    layers = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    assert all(m.bias is not None for m in networks.modules() if isinstance(m, layers))


def test_d_and_q_share_their_trunk(networks: Networks) -> None:
    d = networks.discriminator.eval()
    images = torch.rand(5, 1, 8, 8)
    features = d.trunk(images)
    logit, outputs = d(images)
    assert torch.equal(logit, d.d_logit(features))
    assert torch.equal(outputs, d.q_outputs(features))


def test_q_emits_logits_and_no_probabilities(networks: Networks) -> None:
    _, outputs = networks.discriminator.eval()(torch.rand(5, 1, 8, 8))
    assert (outputs[:, :3] < 0).any()
    assert ((outputs[:, :3].sum(dim=1) - 1).abs() > 0.1).all()
    assert isinstance(networks.discriminator.q_head[-1], nn.Linear)
    assert isinstance(networks.discriminator.d_head[-1], nn.Linear)


@pytest.mark.parametrize(("last", "pixel_range"), [("sigmoid", (0.0, 1.0)), ("tanh", (-1.0, 1.0))])
def test_the_generators_pixels_fill_the_models_range(
    make_model: Callable[..., Model], last: str, pixel_range: tuple[float, float]
) -> None:
    model = make_model(generator=[f"fc 8x8x1 {last}"], pixel_range=pixel_range)
    images = build(model, (1, 8, 8), seed=0).generator(1e4 * torch.randn(20, model.latent_size))
    assert (images.min().item(), images.max().item()) == pixel_range


def test_in_eval_mode_a_latent_gives_the_same_image_in_any_batch(
    model: Model, networks: Networks, float64: None
) -> None:
    networks = networks.double()
    networks.train()
    networks.generator(torch.randn(50, model.latent_size))  # statistics other than 0 and 1
    generator = networks.generator.eval()
    latents = torch.randn(20, model.latent_size)
    together = generator(latents)
    for i in range(20):
        torch.testing.assert_close(generator(latents[i : i + 1]), together[i : i + 1])
    strange = torch.cat([latents[:1], 100 * torch.randn(7, model.latent_size)])
    torch.testing.assert_close(generator(strange)[0], together[0])


# --- Initialisation ------------------------------------------------------------------------------


@pytest.fixture
def large(make_model: Callable[..., Model]) -> Networks:
    """Layers of every kind with enough weights for statistics."""
    model = make_model(
        generator=["fc 4x4x128 bn relu", "upconv 64 s2 bn relu", "upconv 1 s1 sigmoid"],
        trunk=["conv 64 s2 bn lrelu", "conv 128 s2 bn lrelu", "fc 1024 bn lrelu"],
    )
    return build(model, (1, 8, 8), seed=3)


def weights(networks: Networks, *kinds: type[nn.Module]) -> Iterator[Tensor]:
    for module in networks.modules():
        if isinstance(module, kinds):
            weight = module.weight
            assert isinstance(weight, Tensor)
            yield weight.detach().flatten()


# Standard deviation of a standard normal cut at two sigma, relative to the whole.
_DENSITY = math.exp(-2) / math.sqrt(2 * math.pi)
TRUNCATED = math.sqrt(1 - 4 * _DENSITY / math.erf(2 / math.sqrt(2)))


def test_convolutions_start_from_a_truncated_normal(large: Networks) -> None:
    values = torch.cat(list(weights(large, nn.Conv2d)))
    assert values.abs().max() <= 0.04
    assert values.abs().max() > 0.0399
    assert values.mean().item() == pytest.approx(0, abs=5 * 0.02 / math.sqrt(len(values)))
    assert values.std().item() == pytest.approx(0.02 * TRUNCATED, rel=5 / math.sqrt(len(values)))


@pytest.mark.parametrize("kind", [nn.ConvTranspose2d, nn.Linear])
def test_other_layers_start_from_a_normal(large: Networks, kind: type[nn.Module]) -> None:
    values = torch.cat(list(weights(large, kind)))
    assert values.abs().max() > 0.06
    assert values.mean().item() == pytest.approx(0, abs=5 * 0.02 / math.sqrt(len(values)))
    assert values.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(len(values)))


def test_batch_norm_starts_near_1(large: Networks) -> None:
    values = torch.cat(list(weights(large, nn.BatchNorm1d, nn.BatchNorm2d)))
    assert values.mean().item() == pytest.approx(1, abs=5 * 0.02 / math.sqrt(len(values)))
    assert values.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(len(values)))


def test_all_biases_start_at_0(large: Networks) -> None:
    biases = [value for name, value in large.named_parameters() if name.endswith("bias")]
    assert biases
    assert all(torch.equal(bias, torch.zeros_like(bias)) for bias in biases)


def test_the_same_seed_gives_the_same_weights(model: Model) -> None:
    torch.manual_seed(1)
    first = to_arrays(build(model, (1, 8, 8), seed=5))
    torch.manual_seed(2)
    again = to_arrays(build(model, (1, 8, 8), seed=5))
    other = to_arrays(build(model, (1, 8, 8), seed=6))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    differ = {name for name in first if not np.array_equal(first[name], other[name])}
    assert differ == {name for name in first if name.endswith(".weight")}


def test_initialising_draws_every_weight_anew(networks: Networks) -> None:
    before = {name: value.clone() for name, value in networks.named_parameters()}
    initialise(networks, torch.Generator().manual_seed(9))
    for name, value in networks.named_parameters():
        assert torch.equal(value, before[name]) == name.endswith("bias")


# --- Spectral norm -------------------------------------------------------------------------------

NORMED = {
    "generator": ["fc 2x2x8 sn bn relu", "upconv 6 s2 sn bn relu", "upconv 1 s2 sn sigmoid"],
    "trunk": ["conv 6 s2 sn lrelu", "conv 8 s1 sn lrelu", "fc 9 sn lrelu"],
}


@pytest.fixture
def normed(make_model: Callable[..., Model]) -> Networks:
    return build(make_model(**NORMED), (1, 8, 8), seed=5)


def norms(networks: Networks) -> list[float]:
    """The largest singular value of what each layer with spectral norm computes with."""
    found = []
    for module in networks.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and hasattr(
            module, "parametrizations"
        ):
            out = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            matrix = module.weight.detach().transpose(0, out).flatten(1)
            found.append(torch.linalg.svdvals(matrix)[0].item())
    return found


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_new_layer_with_spectral_norm_has_norm_1(normed: Networks, mode: str) -> None:
    found = norms(normed.train(mode == "train"))
    assert found == pytest.approx([1] * 6, abs=0.1)


def test_passes_in_train_mode_keep_the_norm_at_1(normed: Networks, model: Model) -> None:
    with torch.no_grad():
        for name, value in normed.named_parameters():
            if name.endswith("original"):
                value.copy_(5 * torch.randn_like(value))
    assert norms(normed.eval()) != pytest.approx([1] * 6, rel=0.1)
    normed.train()
    for _ in range(100):
        normed.discriminator(normed.generator(torch.rand(2, model.latent_size)))
    assert norms(normed.eval()) == pytest.approx([1] * 6, rel=1e-3)


def test_a_saved_model_with_spectral_norm_rebuilds_itself(
    make_model: Callable[..., Model], normed: Networks
) -> None:
    model = make_model(**NORMED)
    latents = torch.rand(5, model.latent_size)
    normed.discriminator(normed.generator(latents))  # statistics and vectors other than the first
    card = {"model": model.model_dump(mode="json"), "image_shape": [1, 8, 8]}
    _, rebuilt = rebuild(card, to_arrays(normed))
    images = normed.eval().generator(latents)
    assert torch.equal(rebuilt.generator(latents), images)
    for mine, expected in zip(
        rebuilt.discriminator(images), normed.discriminator(images), strict=True
    ):
        assert torch.equal(mine, expected)


def test_the_same_seed_gives_the_same_weights_with_spectral_norm(
    make_model: Callable[..., Model],
) -> None:
    found = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        found.append(to_arrays(build(make_model(**NORMED), (1, 8, 8), seed=5)))
        assert torch.equal(torch.get_rng_state(), before)
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)


def test_spectral_norm_starts_from_the_same_weights(
    make_model: Callable[..., Model], normed: Networks
) -> None:
    plain = [line.replace(" sn", "") for line in NORMED["trunk"]]
    model = make_model(generator=[n.replace(" sn", "") for n in NORMED["generator"]], trunk=plain)
    expected = dict(build(model, (1, 8, 8), seed=5).named_parameters())
    for name, value in normed.named_parameters():
        plain_name = name.replace("parametrizations.weight.original", "weight")
        assert torch.equal(value, expected[plain_name]), name


# --- Pixels --------------------------------------------------------------------------------------

RANGES = [(0.0, 1.0), (-1.0, 1.0)]


@pytest.mark.parametrize("pixel_range", RANGES)
def test_every_pixel_value_survives_the_way_to_floats_and_back(
    pixel_range: tuple[float, float],
) -> None:
    values = torch.arange(256, dtype=torch.uint8)
    floats = to_pixels(values, pixel_range)
    assert (floats.min().item(), floats.max().item()) == pytest.approx(pixel_range, abs=1e-6)
    assert floats.dtype == torch.float32
    assert torch.equal(to_uint8(floats, pixel_range), values)


@pytest.mark.parametrize("pixel_range", RANGES)
def test_pixels_are_rounded_to_the_nearest_value_and_cut_at_the_ends(
    pixel_range: tuple[float, float],
) -> None:
    low, high = pixel_range
    step = (high - low) / 255
    near = [low + 0.4 * step, low + 0.6 * step, high - 0.6 * step]
    floats = torch.tensor([low - 1, *near, high + 1])
    expected = torch.tensor([0, 0, 1, 254, 255], dtype=torch.uint8)
    assert torch.equal(to_uint8(floats, pixel_range), expected)


def test_converting_pixels_leaves_its_input_alone() -> None:
    floats, values = torch.rand(9), torch.arange(9, dtype=torch.uint8)
    before = floats.clone()
    to_uint8(floats, (0.0, 1.0))
    to_pixels(values, (-1.0, 1.0))
    assert torch.equal(floats, before)
    assert torch.equal(values, torch.arange(9, dtype=torch.uint8))


# --- A saved model -------------------------------------------------------------------------------


@pytest.fixture
def card(model: Model) -> dict[str, Any]:
    return {"model": model.model_dump(mode="json"), "image_shape": [1, 8, 8]}


def test_a_saved_model_rebuilds_itself(
    model: Model, networks: Networks, card: dict[str, Any]
) -> None:
    networks.generator(torch.randn(30, model.latent_size))  # statistics other than 0 and 1
    rebuilt_model, rebuilt = rebuild(card, to_arrays(networks))
    assert rebuilt_model == model
    assert not any(module.training for module in rebuilt.modules())
    expected = networks.state_dict()
    assert list(rebuilt.state_dict()) == list(expected)
    for name, value in rebuilt.state_dict().items():
        assert torch.equal(value, expected[name])
    latents = torch.randn(5, model.latent_size)
    assert torch.equal(rebuilt.generator(latents), networks.eval().generator(latents))


def test_a_rebuilt_model_owns_its_weights(networks: Networks, card: dict[str, Any]) -> None:
    arrays = {name: value.copy() for name, value in to_arrays(networks).items()}
    _, rebuilt = rebuild(card, arrays)
    arrays["generator.layers.0.weight"][:] = 0
    assert (rebuilt.generator.layers[0].weight != 0).all()


def test_a_model_of_read_only_arrays_is_rebuilt(networks: Networks, card: dict[str, Any]) -> None:
    arrays = {name: value.copy() for name, value in to_arrays(networks).items()}
    for array in arrays.values():
        array.setflags(write=False)
    rebuild(card, arrays)


def test_every_missing_array_is_named(networks: Networks, card: dict[str, Any]) -> None:
    arrays = to_arrays(networks)
    for name in arrays:
        rest = {other: value for other, value in arrays.items() if other != name}
        with pytest.raises(UserError, match=rf"array {name} is missing, .*not whole"):
            rebuild(card, rest)


def test_an_array_of_another_shape_is_named(networks: Networks, card: dict[str, Any]) -> None:
    name = "discriminator.d_head.1.weight"
    arrays = {**to_arrays(networks), name: np.zeros((1, 3), np.float32)}
    with pytest.raises(UserError, match=rf"array {name} is \(1, 3\), .* needs \(1, 32\)"):
        rebuild(card, arrays)


@pytest.mark.parametrize("key", ["model", "image_shape"])
def test_a_card_that_lacks_something_is_refused(
    networks: Networks, card: dict[str, Any], key: str
) -> None:
    del card[key]
    with pytest.raises(UserError, match=f"card cannot be understood: '{key}'"):
        rebuild(card, to_arrays(networks))


def test_a_card_of_a_bad_model_is_refused(networks: Networks, card: dict[str, Any]) -> None:
    card["model"]["trunk"] = ["pool 4"]
    with pytest.raises(UserError, match=r"card cannot be understood: .*unknown layer 'pool 4'"):
        rebuild(card, to_arrays(networks))
