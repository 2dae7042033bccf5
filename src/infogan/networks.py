"""Generator and discriminator from layer lines; D and Q share a trunk (paper, Appendix C).

Padding, order (layer, batch norm, activation), biases everywhere and initialisation follow the
published code, which decides where the paper's tables are silent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from infogan.errors import UserError
from infogan.options import KERNEL, Layer, Model, Shape, shapes


class _Transposed(torch.autograd.Function):
    """x W^T + b as (W x^T)^T + b, and its gradient with respect to x likewise."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return torch.add((weight @ x.t()).t(), bias).contiguous()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        of_x, of_weight, of_bias = context.needs_input_grad
        return (
            (weight.t() @ gradient.t()).t().contiguous() if of_x else None,
            gradient.t() @ x if of_weight else None,
            gradient.sum(dim=0) if of_bias else None,
        )


class _Linear(nn.Linear):
    """The same mapping, computed transposed on a CPU.

    With few rows and many units, as here, matrix libraries are up to 1.5 times as fast this way
    round: docs/benchmarks.md.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        y: Tensor = _Transposed.apply(x, self.weight, self.bias)
        return y


class _OpenImage(nn.Module):
    """(n, C*H*W) -> (n, C, H, W)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape)


class _CropLast(nn.Module):
    """Drop the last row and column: the rest of a stride-1 transposed 4x4 'same' convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :-1, :-1]


class _Native(nn.Module):
    """Batch norm by torch's own kernels on a GPU, never by cuDNN's.

    Those for images whose channels lie side by side wait for each other across the whole GPU, so
    that two models trained side by side wait for ever: docs/gpus.md. They are no faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False) if x.is_cuda else nullcontext():
            y: Tensor = super().forward(x)
        return y


class _BatchNorm1d(_Native, nn.BatchNorm1d):
    pass


class _BatchNorm2d(_Native, nn.BatchNorm2d):
    pass


def _activation(name: str, leaky_slope: float) -> nn.Module:
    if name == "lrelu":
        return nn.LeakyReLU(leaky_slope)
    modules: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
    }
    return modules[name]()


def _normed(module: nn.Module, layer: Layer) -> nn.Module:
    return spectral_norm(module) if layer.spectral_norm else module


def _modules(layer: Layer, shape: Shape, leaky_slope: float) -> Iterable[nn.Module]:
    """The modules of one line, for inputs of the given shape."""
    output = layer.output_shape(shape)
    if layer.kind == "fc":
        if len(shape) == 3:
            yield nn.Flatten()
        units = int(torch.Size(output).numel())
        yield _normed(_Linear(int(torch.Size(shape).numel()), units), layer)
        if layer.batch_norm:
            yield _BatchNorm1d(units)  # over the batch, per unit
        if len(output) == 3:
            yield _OpenImage(output)
    else:
        channels = (shape[0], output[0])
        if layer.kind == "conv" and layer.stride == 1:
            yield nn.ZeroPad2d((1, 2, 1, 2))  # TensorFlow's "same"
            yield _normed(nn.Conv2d(*channels, KERNEL, 1), layer)
        elif layer.kind == "conv":
            yield _normed(nn.Conv2d(*channels, KERNEL, 2, padding=1), layer)
        else:
            yield _normed(nn.ConvTranspose2d(*channels, KERNEL, layer.stride, padding=1), layer)
            if layer.stride == 1:
                yield _CropLast()
        if layer.batch_norm:
            yield _BatchNorm2d(output[0])
    if layer.activation:
        yield _activation(layer.activation, leaky_slope)


def _stack(layers: Iterable[Layer], shape: Shape, leaky_slope: float) -> nn.Sequential:
    layers = list(layers)
    stack = nn.Sequential()
    for layer, before in zip(layers, shapes(layers, shape), strict=False):
        stack.extend(_modules(layer, before, leaky_slope))
    return stack


def _head(
    layers: Iterable[Layer], shape: Shape, outputs: int, leaky_slope: float
) -> nn.Sequential:
    last = Layer("fc", (outputs,), 1, batch_norm=False, activation=None)
    return _stack([*layers, last], shape, leaky_slope)


class Judgement(NamedTuple):
    """What D and Q say of real, generated and further images: of each, the outputs that are used.

    n images of each; q units of Q's output.
    """

    real_logit: Tensor  # (n,), of D
    fake_logit: Tensor  # (n,)
    of_fake: Tensor  # (n, q), of Q
    of_real: Tensor | None  # (n, q), of Q, if that is asked for
    of_others: tuple[Tensor, ...]  # (n, q) each, of Q


def _apart(stack: nn.Sequential, batches: Sequence[Tensor]) -> list[Tensor]:
    """What ``stack`` makes of several batches, each with batch-norm statistics of its own.

    Whatever treats every image alone sees all batches as one, which costs less.
    """
    sizes = [len(batch) for batch in batches]
    x = torch.cat(list(batches))
    for module in stack:
        if isinstance(module, _BatchNorm):
            x = torch.cat([module(batch) for batch in torch.split(x, sizes)])
        else:
            x = module(x)
    return list(torch.split(x, sizes))


class Generator(nn.Module):
    """G: latent vectors (n, L) to images (n, C, H, W) in the model's pixel range."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.layers = _stack(model.generator, (model.latent_size,), model.leaky_slope)

    def forward(self, latent: Tensor) -> Tensor:
        """(n, L) -> (n, C, H, W)."""
        images: Tensor = self.layers(latent)
        return images


class Discriminator(nn.Module):
    """D and Q: one trunk, and a head each on its features."""

    def __init__(self, model: Model, image_shape: Shape) -> None:
        super().__init__()
        features = shapes(model.trunk, image_shape)[-1]
        self.trunk = _stack(model.trunk, image_shape, model.leaky_slope)
        self.d_head = _head(model.d_head, features, 1, model.leaky_slope)
        self.q_head = _head(model.q_head, features, model.q_outputs, model.leaky_slope)

    def features(self, *batches: Tensor, joint: bool = False) -> list[Tensor]:
        """The trunk's features of batches of images, each with its own batch-norm statistics.

        ``joint``: with those of all images together.
        """
        if joint:
            return list(torch.split(self.trunk(torch.cat(batches)), [len(b) for b in batches]))
        return _apart(self.trunk, batches)

    def d_logit(self, features: Tensor) -> Tensor:
        """Logit of D(x) of the trunk's features: -> (n,)."""
        logit: Tensor = self.d_head(features)
        return logit.squeeze(1)

    def q_outputs(self, features: Tensor) -> Tensor:
        """Parameters of Q(c|x), never normalised, of the trunk's features: -> (n, q)."""
        outputs: Tensor = self.q_head(features)
        return outputs

    def judge(
        self,
        real: Tensor,
        fake: Tensor,
        *others: Tensor,
        reads_real: bool = False,
        informs_trunk: bool = True,
        joint: bool = False,
    ) -> Judgement:
        """D of real and of generated images, Q of generated ones, of others, and maybe of real.

        Unless it informs the trunk, what is learned from Q's outputs for generated images ends at
        the Q head. ``joint``: batch norm sees all images as one batch.
        """
        of_real, of_fake, *of_others = self.features(real, fake, *others, joint=joint)
        return Judgement(
            self.d_logit(of_real),
            self.d_logit(of_fake),
            self.q_outputs(of_fake if informs_trunk else of_fake.detach()),
            self.q_outputs(of_real) if reads_real else None,
            tuple(self.q_outputs(each) for each in of_others),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) -> logit of D (n,), outputs of Q (n, q)."""
        features = self.trunk(images)
        return self.d_logit(features), self.q_outputs(features)


class Networks(nn.Module):
    """G, D and Q of one model."""

    def __init__(self, model: Model, image_shape: Shape) -> None:
        super().__init__()
        self.generator = Generator(model)
        self.discriminator = Discriminator(model, image_shape)


@contextmanager
def evaluating(networks: nn.Module) -> Iterator[None]:
    """Eval mode within the block; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in networks.modules()]
    networks.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def initialise(networks: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights: conv truncated normal, other layers normal, sigma 0.02; biases 0.

    Batch norm: gamma ~ N(1, 0.02), beta 0, as in the published code. TensorFlow's truncated normal
    draws again beyond two sigma.
    """
    for module in networks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.trunc_normal_(_weight(module), 0.0, 0.02, -0.04, 0.04, generator=generator)
        elif isinstance(module, nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(_weight(module), 0.0, 0.02, generator=generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02, generator=generator)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    settle(networks, steps=15)  # as many as torch takes for the weights that are no more


def settle(networks: nn.Module, steps: int = 1) -> None:
    """Let spectral norm look for its largest singular values again: steps of power iteration.

    A forward pass in train mode takes one by itself; in eval mode what was found before is used.
    """
    for module in networks.modules():
        if is_parametrized(module, "weight"):
            for _ in range(steps):
                module.get_submodule("parametrizations.weight")()


def _weight(module: nn.Module) -> Tensor:
    """What is learned: with spectral norm, the weight before it is normalised."""
    if is_parametrized(module, "weight"):
        return module.get_parameter("parametrizations.weight.original")
    return module.get_parameter("weight")


def build(model: Model, image_shape: Shape, seed: int) -> Networks:
    """New networks on the CPU; the same seed gives the same weights on every device."""
    with torch.random.fork_rng(devices=[]):  # spectral norm begins with random vectors of its own
        torch.manual_seed(seed)
        networks = Networks(model, image_shape)
    initialise(networks, torch.Generator().manual_seed(seed))
    return networks


def to_pixels(images: Tensor, pixel_range: tuple[float, float]) -> Tensor:
    """uint8 images to floats in the model's pixel range."""
    low, high = pixel_range
    return images.to(torch.float32).mul_((high - low) / 255).add_(low)


def to_uint8(images: Tensor, pixel_range: tuple[float, float]) -> Tensor:
    """Images in the model's pixel range to uint8, rounded to the nearest value."""
    low, high = pixel_range
    return images.sub(low).mul(255 / (high - low)).round_().clamp_(0, 255).to(torch.uint8)


def to_arrays(networks: Networks) -> dict[str, np.ndarray]:
    """Parameters and batch-norm statistics by name."""
    state = networks.state_dict()
    return {name: value.contiguous().cpu().numpy() for name, value in state.items()}


def rebuild(card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Model, Networks]:
    """A saved model from its card and arrays alone, in eval mode; UserError if they do not fit."""
    try:
        model = Model.model_validate(card["model"])
        networks = Networks(model, tuple(card["image_shape"]))
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"the model's card cannot be understood: {error}") from None
    state = networks.state_dict()
    for name, value in state.items():
        if name not in arrays or arrays[name].shape != tuple(value.shape):
            found = arrays[name].shape if name in arrays else "missing"
            raise UserError(
                f"the model's array {name} is {found}, but its card needs {tuple(value.shape)}: "
                "the file is not whole."
            )
    networks.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in state})
    return model, networks.eval()
