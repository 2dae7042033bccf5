"""What a user may write: one frozen model per parameter block, and two small languages.

Networks are written one line per layer, as the paper's appendix prints them
(``conv 64 s2 lrelu``), latent codes one line per code (``c1 categorical 10``). Everything that
can be known to be wrong without computing is refused here: unknown keys, wrong types, bad lines,
networks that do not produce the images of the data set, batches larger than the data.

Nothing that influences a result has a default: it stands in the parameter file, where DVC and
MLflow see it. A key that may be left out stands for something that then does not happen.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from infogan.errors import UserError
from infogan.schedules import Amount, Schedule, largest, parse_amount, write_amount

Shape = tuple[int, ...]  # (units,) or (C, H, W)

KERNEL = 4  # every convolution of the paper is 4x4 (Appendix C)
ACTIVATIONS = ("relu", "lrelu", "sigmoid", "tanh")
OUTPUT_RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


# --- Layers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """One line of a network table: kind, size, stride, batch norm, activation.

    >>> Layer.parse("fc 7x7x128 bn relu").output_shape((1024,))
    (128, 7, 7)
    >>> Layer.parse("conv 64 s2 lrelu").output_shape((1, 28, 28))
    (64, 14, 14)
    """

    kind: Literal["fc", "conv", "upconv"]
    size: Shape  # (units,), or (C, H, W) for a fully connected layer that opens into an image
    stride: int
    batch_norm: bool
    activation: str | None
    spectral_norm: bool = False  # not in the paper

    @classmethod
    def parse(cls, line: object) -> Self:
        """Read a line such as ``upconv 64 s2 bn relu``; ValueError says what is wrong with it."""
        if isinstance(line, cls):
            return line
        if not isinstance(line, str) or not line.split():
            raise ValueError(f"a layer is a line such as 'conv 64 s2 bn lrelu', not {line!r}")
        kind, *words = line.split()
        if kind not in ("fc", "conv", "upconv"):
            raise ValueError(f"unknown layer {line!r}: a line starts with fc, conv or upconv")
        if not words or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*x[1-9]\d*)?", words[0]):
            raise ValueError(
                f"layer {line!r} has no size: after {kind} comes a number of units or channels"
                + (", or HxWxC" if kind == "fc" else "")
            )
        numbers = [int(number) for number in words[0].split("x")]
        if len(numbers) == 3 and kind != "fc":
            raise ValueError(f"layer {line!r}: only fc has a size HxWxC, {kind} has channels")
        size = (numbers[2], numbers[0], numbers[1]) if len(numbers) == 3 else (numbers[0],)

        # The words stand in one order: stride, sn, bn, activation.
        stride, spectral_norm, batch_norm, activation = 1, False, False, None
        rest = words[1:]
        if rest and rest[0] in ("s1", "s2") and kind != "fc":
            stride = int(rest.pop(0)[1:])
        if rest and rest[0] == "sn":
            spectral_norm = bool(rest.pop(0))
        if rest and rest[0] == "bn":
            batch_norm = bool(rest.pop(0))
        if rest and rest[0] in ACTIVATIONS:
            activation = rest.pop(0)
        if rest:
            known = "sn, bn, then one of " + ", ".join(ACTIVATIONS)
            raise ValueError(
                f"layer {line!r}: {rest[0]!r} is not understood here; after the size come "
                + (known if kind == "fc" else f"s1 or s2, {known}")
            )
        return cls(kind, size, stride, batch_norm, activation, spectral_norm)  # type: ignore[arg-type]

    def __str__(self) -> str:
        size = "x".join(str(n) for n in (*self.size[1:], self.size[0]))
        words = [self.kind, size]
        words += [f"s{self.stride}"] if self.kind != "fc" else []
        words += ["sn"] if self.spectral_norm else []
        words += ["bn"] if self.batch_norm else []
        words += [self.activation] if self.activation else []
        return " ".join(words)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape after this layer for one example of the given shape; ValueError if impossible."""
        if self.kind == "fc":
            return self.size
        if len(shape) != 3:
            raise ValueError(f"'{self}' needs an image, but is given {format_shape(shape)}")
        _, height, width = shape
        if self.stride == 1:
            return (self.size[0], height, width)
        if self.kind == "upconv":
            return (self.size[0], 2 * height, 2 * width)
        if height % 2 or width % 2:
            raise ValueError(
                f"'{self}' halves its image and needs an even height and width, "
                f"but is given {format_shape(shape)}"
            )
        return (self.size[0], height // 2, width // 2)


def shapes(layers: Iterable[Layer], shape: Shape) -> list[Shape]:
    """Shapes before the first and after each layer."""
    found = [shape]
    for layer in layers:
        found.append(layer.output_shape(found[-1]))
    return found


def format_shape(shape: Shape) -> str:
    """``(1, 28, 28)`` as people write it: ``1x28x28``."""
    return "x".join(str(n) for n in shape) if len(shape) > 1 else f"{shape[0]} units"


LayerLine = Annotated[Layer, PlainValidator(Layer.parse), PlainSerializer(str, return_type=str)]
Layers = tuple[LayerLine, ...]


# --- Latent variables ----------------------------------------------------------------------------


@dataclass(frozen=True)
class CategoricalPrior:
    """A uniform categorical code, Cat(K): one-hot for the generator, K logits from Q."""

    name: str
    categories: int

    @property
    def width(self) -> int:
        """Units of the generator's input."""
        return self.categories

    @property
    def outputs(self) -> int:
        """Units of Q's output."""
        return self.categories

    @property
    def entropy(self) -> float:
        """H(c) = ln K, in nats."""
        return math.log(self.categories)

    def little(self, share: float, spread: str) -> tuple[float, str]:  # noqa: ARG002
        """L_I in nats where a share of what there is to know is known, here of H(c), and what it
        is in words.
        """
        return share * self.entropy, f"{share:.0%} of H({self.name}) = {self.entropy:.3f}"

    def __str__(self) -> str:
        return f"{self.name} categorical {self.categories}"


@dataclass(frozen=True)
class UniformPrior:
    """A continuous code, uniform on [low, high]^dim; Q gives its mean and spread."""

    name: str
    low: float
    high: float
    dim: int

    @property
    def width(self) -> int:
        """Units of the generator's input."""
        return self.dim

    @property
    def outputs(self) -> int:
        """Units of Q's output: the means, then the raw spreads."""
        return 2 * self.dim

    @property
    def entropy(self) -> float:
        """H(c) = dim ln(high - low), a differential entropy in nats."""
        return self.dim * math.log(self.high - self.low)

    def little(self, share: float, spread: str) -> tuple[float, str]:
        """The same; here of the code's variance, and L_I as the best Q has it, with sigma 1 or,
        with a ``learned`` spread, the sigma that fits. Negative with sigma 1.
        """
        left = (1 - share) * (self.high - self.low) ** 2 / 12  # of the variance, in each dimension
        halved = (left if spread == "fixed" else 1 + math.log(left)) / 2
        bound = self.entropy - self.dim * (math.log(2 * math.pi) / 2 + halved)
        words = f"{bound:.3f}, where Q can tell {share:.0%} of the variance of {self.name}"
        return bound, words

    def __str__(self) -> str:
        dim = f" x{self.dim}" if self.dim > 1 else ""
        return f"{self.name} uniform {_text_of(self.low)} {_text_of(self.high)}{dim}"


Prior = CategoricalPrior | UniformPrior


def _text_of(number: float) -> str:
    """Every digit, since cards and fingerprints keep this text; ``-1`` rather than ``-1.0``."""
    return str(int(number)) if number.is_integer() else repr(number)


def parse_code(line: object) -> Prior:
    """Read a line such as ``c1 categorical 10`` or ``c2 uniform -1 1``, or `` x2`` for two of it.

    >>> parse_code("c2 uniform -1 1").entropy == math.log(2)
    True
    """
    if isinstance(line, CategoricalPrior | UniformPrior):
        return line
    words = line.split() if isinstance(line, str) else []
    grammar = "a code is written 'NAME categorical K' or 'NAME uniform LOW HIGH [xDIM]'"
    if len(words) < 3 or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", words[0]):
        raise ValueError(f"code {line!r} is not understood: {grammar}")
    name, kind, *numbers = words
    if kind == "categorical" and len(numbers) == 1 and re.fullmatch("[0-9]+", numbers[0]):
        if int(numbers[0]) < 2:
            raise ValueError(f"code {line!r} needs at least two categories to carry information")
        return CategoricalPrior(name, int(numbers[0]))
    if kind == "uniform" and len(numbers) in (2, 3):
        dim = re.fullmatch(r"x([1-9]\d*)", numbers[2]) if len(numbers) == 3 else None
        try:
            low, high = float(numbers[0]), float(numbers[1])
        except ValueError:
            raise ValueError(
                f"code {line!r}: the range of a uniform code is two numbers"
            ) from None
        if len(numbers) == 3 and not dim:
            raise ValueError(f"code {line!r} is not understood: {grammar}")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"code {line!r} has its range the wrong way round or empty: write the smaller "
                "number first"
            )
        return UniformPrior(name, low, high, int(dim[1]) if dim else 1)
    raise ValueError(f"code {line!r} is not understood: {grammar}")


@dataclass(frozen=True)
class Noise:
    """The incompressible noise z: its distribution and number of units."""

    distribution: Literal["uniform", "normal"]  # U(-1, 1) or N(0, 1)
    size: int

    def __str__(self) -> str:
        return f"{self.distribution} {self.size}"


def parse_noise(line: object) -> Noise:
    """Read ``uniform 62`` (U(-1, 1), the paper's) or ``normal 62``."""
    if isinstance(line, Noise):
        return line
    found = re.fullmatch(r"(uniform|normal) ([1-9]\d*)", line) if isinstance(line, str) else None
    if not found:
        raise ValueError(f"noise {line!r} is not understood: write 'uniform 62' or 'normal 62'")
    return Noise(found[1], int(found[2]))  # type: ignore[arg-type]


_text = PlainSerializer(str, return_type=str)
CodeLine = Annotated[Prior, PlainValidator(parse_code), _text]
NoiseLine = Annotated[Noise, PlainValidator(parse_noise), _text]


# --- Splits and transforms -----------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """A run of images of one raw split: ``train[0:60000]``.

    ``train+extra[0:100]`` counts through several splits as if they were one. A bound may be a
    percentage of the images there are, ``all[0:90%]``; ``resolve`` makes it a number.
    """

    split: str
    first: int
    last: int
    percent: tuple[bool, bool] = (False, False)

    @property
    def count(self) -> int | None:
        """Number of images, None as long as it depends on how many there are."""
        return None if any(self.percent) else self.last - self.first

    def resolve(self, total: int) -> Self:
        """The same run among ``total`` images, without percentages."""
        first, last = (
            bound * total // 100 if percent else bound
            for bound, percent in zip((self.first, self.last), self.percent, strict=True)
        )
        return type(self)(self.split, first, last)

    def __str__(self) -> str:
        first, last = (
            f"{bound}%" if percent else str(bound)
            for bound, percent in zip((self.first, self.last), self.percent, strict=True)
        )
        return f"{self.split}[{first}:{last}]"


def parse_slice(text: object) -> Slice:
    """Read ``train[0:60000]``: the images 0 to 59,999 of the raw split ``train``."""
    if isinstance(text, Slice):
        return text
    pattern = r"(\w+(?:\+\w+)*)\[(\d+)(%?):(\d+)(%?)\]"
    found = re.fullmatch(pattern, text) if isinstance(text, str) else None
    if not found:
        raise ValueError(
            f"{text!r} is not understood: write for example 'train[0:60000]' or 'all[0:90%]'"
        )
    percent = (bool(found[3]), bool(found[5]))
    part = Slice(found[1], int(found[2]), int(found[4]), percent)
    if any(
        is_share and n > 100 for n, is_share in ((part.first, percent[0]), (part.last, percent[1]))
    ):
        raise ValueError(f"'{part}' goes beyond 100%")
    if part.first >= part.last and percent[0] == percent[1]:
        raise ValueError(f"'{part}' is empty: the second number must be larger than the first")
    return part


@dataclass(frozen=True)
class Transform:
    """One step of preprocessing.

    ``center_crop HxW``; ``square``, the largest square in the middle; ``resize HxW``, by area;
    ``grayscale``; ``rgb``, three channels from one.
    """

    kind: Literal["center_crop", "square", "resize", "grayscale", "rgb"]
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.kind + (f" {self.size[0]}x{self.size[1]}" if self.size else "")


def parse_transform(line: object) -> Transform:
    """Read ``center_crop 108x108``, ``square``, ``resize 32x32``, ``grayscale`` or ``rgb``."""
    if isinstance(line, Transform):
        return line
    if line in ("square", "grayscale", "rgb"):
        return Transform(line)
    pattern = r"(center_crop|resize) ([1-9]\d*)x([1-9]\d*)"
    found = re.fullmatch(pattern, line) if isinstance(line, str) else None
    if not found:
        raise ValueError(
            f"transform {line!r} is not understood: write 'center_crop HxW', 'square', "
            "'resize HxW', 'grayscale' or 'rgb'"
        )
    return Transform(found[1], (int(found[2]), int(found[3])))  # type: ignore[arg-type]


SliceText = Annotated[Slice, PlainValidator(parse_slice), _text]
TransformLine = Annotated[Transform, PlainValidator(parse_transform), _text]


# --- Parameter blocks ----------------------------------------------------------------------------


class Options(BaseModel):
    """A parameter block: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Block(Options):
    """One of the blocks of a parameter file. What is wrong with it is said in plain sentences."""

    @model_validator(mode="wrap")
    @classmethod
    def _speak_plainly(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            raise UserError(" ".join(_sentences(cls, error))) from None


_WHAT_TO_WRITE = {  # by pydantic's name of the error
    "model_type": "its keys, each with a value",
    "tuple_type": "a list, in square brackets",
    "float_type": "a number, without quotes",
    "bool_type": "true or false, without quotes",
}


def _sentences(block: type[Block], error: ValidationError) -> Iterable[str]:
    """Key, value and what would be right, of each error pydantic found."""
    name = block.__name__.lower()
    places = [found["loc"] for found in error.errors()]
    for found in error.errors():
        place = found["loc"]
        if place[:1] == ("scene",):  # then comes its kind, which is no key
            place = (place[0], *place[2:])
        key = ".".join([name, *(str(part) for part in place)])
        if found["type"] == "too_short" and any(
            other[: len(place)] == place and other != place for other in places
        ):
            continue  # only because its items were refused, which is said already
        if found["type"] == "extra_forbidden":
            inner = _INNER if len(place) > 1 else (block,)
            known = [field for kind in inner for field in kind.model_fields]
            close = get_close_matches(str(place[-1]), known, n=1)
            hint = f"did you mean {close[0]}?" if close else "remove it."
            yield f"{key} is not a known key; {hint}"
        elif found["type"] == "missing":
            yield f"{key} is missing."
        elif found["type"] in _WHAT_TO_WRITE:
            yield f"{key} is {found['input']!r}: write {_WHAT_TO_WRITE[found['type']]}."
        elif found["type"] == "value_error":  # our own words, which show the value
            yield f"{key}: {found['msg'].removeprefix('Value error, ')}."
        else:
            yield f"{key} is {found['input']!r}: {found['msg']}."


Natural = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[int, Field(ge=1, strict=True)]
# Strict: neither a text nor false passes for a number, nor a text or a number for a switch.
Number = Annotated[float, Field(strict=True)]
Rate = Annotated[Number, Field(gt=0)]
Weight = Annotated[Number, Field(ge=0)]
Decay = Annotated[Number, Field(ge=0, lt=1)]
Switch = Annotated[bool, Field(strict=True)]
# A number of 0 or more, or one that changes on the way: '0.1 to 0 until 2000'.
Changing = Annotated[Amount, PlainValidator(parse_amount), PlainSerializer(write_amount)]


class SourceFile(Options):
    """One file as distributed: its name, and its length and hash as far as they are published."""

    name: Annotated[str, Field(pattern=r"^[\w][\w.\-]*$")]
    bytes: Positive | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    unpacked: Annotated[str, Field(pattern=r"^[\w][\w.\-]*$")] | None = None  # or this folder


Range = tuple[Number, Number]


class FaceScene(Options):
    """Faces to render: each image has an identity, a pose, a light and a width of its own.

    Every factor is uniform on its range. Angles are degrees: azimuth 0 from the front, positive
    where the right cheek is seen; elevation 0 at eye level, positive from above; light 0 from the
    viewer, positive from the viewer's right, whichever way the face is turned.
    """

    kind: Literal["faces"]
    images: Positive
    seed: Natural
    side: Positive  # pixels
    identity: Rate  # standard deviations of the shape model
    azimuth: Range
    elevation: Range
    light: Range
    width: Range  # the face's width in relation to its height, 1 as modelled

    @field_validator("azimuth", "elevation", "light", "width")
    @classmethod
    def _ascending(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:  # of equal ones the factor stays as it is
            raise ValueError(f"{list(limits)} is the wrong way round: smaller number first")
        return limits

    @field_validator("width")
    @classmethod
    def _has_a_width(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not limits[0] > 0:
            raise ValueError(f"{list(limits)} has a face without width: it must be more than 0")
        return limits


class ChairScene(Options):
    """Procedural chairs to render in the layout of the archive: 31 azimuths, 2 elevations."""

    kind: Literal["chairs"]
    chairs: Positive
    seed: Natural
    side: Positive  # pixels


class Source(Block):
    """Where the raw data come from: pinned files and the addresses that serve them, in order.

    An address is a base URL, ``package:NAME/FOLDER`` for files inside an installed package, or
    ``mirror:FOLDER`` for a folder in the mirror's folder of the data set. ``path`` is a file or a
    folder that a person brings instead. Numbers of images in ``complete`` say what the whole data
    set has; with ``allow_partial`` a part of it will do, first of all the ``samples``.
    """

    files: tuple[SourceFile, ...]
    addresses: tuple[str, ...]
    samples: tuple[SourceFile, ...] = ()
    complete: dict[str, Positive] = {}
    allow_partial: Switch = False
    path: str | None = None
    scene: FaceScene | ChairScene | None = Field(None, discriminator="kind")

    @field_validator("path", mode="before")
    @classmethod
    def _path_is_text(cls, path: object) -> object:
        if path is None or (isinstance(path, str) and path.strip()):
            return path
        raise ValueError(
            f"{path!r} is no path: write that of a file or folder in quotes, or leave it out"
        )


class Data(Block):
    """What becomes of the raw images: which of them, how they are prepared, their final shape."""

    shape: tuple[Positive, Positive, Positive]  # (C, H, W)
    transforms: tuple[TransformLine, ...]
    train: SliceText
    test: SliceText
    max_rejected: Natural = 0  # images that cannot be used, before that stops the run


class Model(Block):
    """Latent variables and networks; enough, with the image shape, to rebuild a model."""

    noise: NoiseLine
    codes: Annotated[tuple[CodeLine, ...], Field(min_length=1)]
    spread: Literal["learned", "fixed"]  # sigma of Q(c|x) for continuous codes; fixed: 1
    pixel_range: Range
    leaky_slope: Annotated[Number, Field(ge=0, lt=1)]
    generator: Annotated[Layers, Field(min_length=1)]
    trunk: Annotated[Layers, Field(min_length=1)]
    d_head: Layers  # before its last line, fc 1
    q_head: Layers  # before its last line, fc with as many units as the codes need

    @field_validator("codes")
    @classmethod
    def _names_differ(cls, codes: tuple[Prior, ...]) -> tuple[Prior, ...]:
        names = [code.name for code in codes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two codes are called {name!r}: give each its own name")
        return codes

    @field_validator("generator")
    @classmethod
    def _output_range_fits(
        cls, generator: tuple[Layer, ...], info: ValidationInfo
    ) -> tuple[Layer, ...]:
        # Not a validator of the whole model: that would run outside Block's plain speaking.
        last = generator[-1]
        fitting = OUTPUT_RANGES.get(last.activation or "")
        if fitting is None:
            raise ValueError(
                f"it ends in '{last}', but its last activation must be sigmoid (pixels in [0, 1]) "
                "or tanh (pixels in [-1, 1])"
            )
        pixel_range = info.data.get("pixel_range", fitting)  # absent if it is wrong itself
        if pixel_range != fitting:
            low, high = fitting
            raise ValueError(
                f"it ends in {last.activation}, which gives pixels in [{low:g}, {high:g}], but "
                f"pixel_range is {list(pixel_range)}"
            )
        return generator

    @property
    def latent_size(self) -> int:
        """Units of the generator's input: noise and codes."""
        return self.noise.size + sum(code.width for code in self.codes)

    @property
    def q_outputs(self) -> int:
        """Units of Q's output."""
        return sum(code.outputs for code in self.codes)

    def check_image_shape(self, image_shape: Shape) -> None:
        """UserError unless the generator makes, and the trunk accepts, images of this shape."""
        try:
            made = shapes(self.generator, (self.latent_size,))
        except ValueError as error:
            raise UserError(f"model.generator cannot be built: {error}.") from None
        if made[-1] != image_shape:
            raise UserError(
                f"model.generator ends in images of {format_shape(made[-1])}, but data.shape is "
                f"{format_shape(image_shape)}; its layers give "
                + ", ".join(format_shape(shape) for shape in made[1:])
                + "."
            )
        before = image_shape
        for name in ("trunk", "d_head", "q_head"):
            try:
                after = shapes(getattr(self, name), before)[-1]
            except ValueError as error:
                raise UserError(f"model.{name} cannot be built: {error}.") from None
            before = after if name == "trunk" else before  # both heads stand on the trunk


class Deformation(Options):
    """How copies of images are deformed: by amounts uniform between minus and plus these.

    Noise is normal, and what is given is its deviation.
    """

    rotation: Changing  # radians
    scale: Changing  # share of the size, of width and height each
    shear: Changing  # share of the width, from the middle to an edge
    shift: Changing  # share of the width and of the height
    elastic: Changing = 0.0  # share of the size that each of 5 x 5 points moves, the rest smoothly
    thickness: Changing = 0.0  # bright strokes grow or thin: 1 by a pixel on each side
    noise: Changing = 0.0  # deviation of normal noise, in units of pixel_range

    @field_validator("scale")
    @classmethod
    def _does_not_turn_inside_out(cls, scale: Amount) -> Amount:
        if largest(scale) >= 1:
            raise ValueError(f"{scale} would shrink an image to nothing: it must be less than 1")
        return scale

    @field_validator("thickness")
    @classmethod
    def _stays_in_range(cls, thickness: Amount) -> Amount:
        if largest(thickness) > 1:
            raise ValueError(f"{thickness} would leave the range of pixels: it must be at most 1")
        return thickness


class Consistency(Deformation):
    """An extension of the paper: categories of real images survive a deformation."""

    codes: Annotated[tuple[str, ...], Field(min_length=1)]  # categorical ones
    weight: Changing
    balance: Weight  # of the entropy that keeps all categories in use
    generated: Weight = 0.0  # of the same codes' L_I on deformed generated images


class Clustering(Deformation):
    """An extension of the paper: the categories of a code follow clusters of real images."""

    code: str  # a categorical one
    weight: Changing  # in the game: of Q's cross entropy with what the clustering has found
    iterations: Positive  # that teach the trunk to tell images, however deformed, apart
    refinements: Natural  # iterations that teach Q to be certain of the clusters
    lr: Rate
    temperature: Rate  # of the similarity of images
    certainty: Weight  # of the mean entropy of the categories, while they are refined

    @field_validator("rotation", "scale", "shear", "shift", "elastic", "thickness", "noise")
    @classmethod
    def _stays(cls, amount: Amount) -> Amount:
        if isinstance(amount, Schedule):
            raise ValueError(f"{amount} cannot change: clusters are found before the game begins")
        return amount


class Training(Block):
    """The game of section 1: two steps an iteration, with Adam; and how it is carried out."""

    seeds: Annotated[tuple[Natural, ...], Field(min_length=1)]  # a model each
    device: Literal["auto", "cpu", "cuda"]
    iterations: Positive
    baseline_iterations: Natural  # of the regular GAN; 0: there is none
    batch_size: Annotated[int, Field(ge=2, strict=True)]
    lr_d: Changing  # trunk, D head and Q head
    lr_g: Changing
    betas: tuple[Decay, Decay]
    lambda_categorical: Changing
    lambda_continuous: Changing
    mi_trains_trunk: Switch  # does the information term of the D/Q step reach the shared trunk?
    baseline: Literal["joint", "head"]  # does it in the regular GAN of Figure 1?
    evaluate_every: Positive  # iterations between estimates of L_I on fresh codes
    evaluation_samples: Positive
    # Not in the paper. What is absent does not happen.
    consistency: Consistency | None = None
    clustering: Clustering | None = None
    instance_noise: Changing = 0.0  # on what D and Q see: its deviation, in units of pixel_range
    steps_g: Positive = 1  # G steps an iteration
    average_g: Annotated[Number, Field(gt=0, lt=1)] | None = None  # of G's weights: its decay
    joint_batch_norm: Switch = False  # statistics over real and generated images together
    log_every: Positive  # iterations between two looks at the numbers (a device synchronisation)
    checkpoint_every: Positive
    resume: Literal["auto", "never"] = "auto"  # from a checkpoint of the same training
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    seeds_at_once: Positive | None = None  # side by side; if absent: all on a GPU, one on a CPU
    deterministic: Switch = False  # on a GPU; a CPU always is, with the same number of threads
    cuda_graph: Switch = True  # on a GPU: record the iteration once, then replay it
    profile: Switch = False  # some iterations to a trace and a table of operators
    devices: Positive = 1  # processes on a machine, a GPU each or a part of the CPU
    nodes: Positive = 1  # machines
    batch_norm: Literal["synchronised", "replica"] = "synchronised"  # over all processes, or each

    @property
    def processes(self) -> int:
        """Among how many each batch is divided."""
        return self.devices * self.nodes

    @field_validator("lr_d", "lr_g")
    @classmethod
    def _learns(cls, rate: Amount) -> Amount:
        if not largest(rate) > 0:
            raise ValueError(f"{rate} is no learning rate: it must be more than 0")
        return rate

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"{list(seeds)} has a seed twice: a seed always gives the same model")
        return seeds

    @property
    def seed(self) -> int:
        """The only seed, or the one whose model stands for all."""
        return self.seeds[0]

    def alone(self, seed: int) -> "Training":
        """The training of one of the seeds."""
        return self.model_copy(update={"seeds": (seed,)})


class Evaluation(Block):
    """How a trained model is judged."""

    seed: Natural
    device: Literal["auto", "cpu", "cuda"]
    batch_size: Positive
    samples: Positive  # fresh codes for L_I
    # Real images that batch norm is re-estimated on.
    recalibration_images: Annotated[int, Field(ge=2, strict=True)]
    kmeans_restarts: Positive
    # To be judged by a classifier, if there are labels, and by Inception, if it has weights.
    generated_images: Natural
    inception_weights: str | None = None  # path, for the FID of those images; None: no FID
    traversal_rows: Positive
    traversal_columns: Annotated[int, Field(ge=2, strict=True)]
    traversal_range: Range  # in units of the prior's half-width

    @field_validator("traversal_range")
    @classmethod
    def _ascending(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] >= limits[1]:
            raise ValueError(f"range {list(limits)} is the wrong way round: smaller number first")
        return limits

    @field_validator("inception_weights")
    @classmethod
    def _something_to_judge(cls, weights: str | None, info: ValidationInfo) -> str | None:
        if weights is not None and info.data.get("generated_images") == 0:
            raise ValueError(
                f"{weights!r} is for images, but generated_images is 0: say how many, as 5000"
            )
        return weights


class TrackingSettings(Options):
    """What of a run goes to MLflow, and by which names: ``tracking.yml`` of an environment."""

    enabled: Switch
    experiment: str  # {dataset} stands for the name of the data set
    stages: tuple[Literal["ingestion", "training", "evaluation", "reporting", "study"], ...]
    model: str  # its name in the registry
    best: Switch  # whether a model from here may become the best: see `infogan.registry`

    @field_validator("experiment", "model")
    @classmethod
    def _names(cls, name: str) -> str:
        try:
            name.format(dataset="")
        except (AttributeError, KeyError, IndexError, ValueError):
            raise ValueError(f"{name!r} may name {{dataset}} and nothing else in braces") from None
        return name


class Recipe(Options):
    """What a recipe changes in the parameters of model and training: keys and their values."""

    model: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Study(Block):
    """Recipes times seeds, to be compared by their distributions."""

    seeds: Annotated[tuple[Natural, ...], Field(min_length=1)]
    seed: Natural  # of what judges: the classifier of generated images, small deformations
    # Of the training images: on them categories are matched to classes, batch norm recalibrated.
    mapping_images: Annotated[int, Field(ge=2, strict=True)]
    stability_images: Positive  # of the test images, deformed a little
    generated_images: Natural  # that a classifier judges; 0: none
    common: Recipe = Recipe()  # before each recipe's own changes
    recipes: Annotated[dict[str, Recipe], Field(min_length=1)]
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None  # of them; None: all

    @field_validator("recipes")
    @classmethod
    def _names_are_files(cls, recipes: dict[str, Recipe]) -> dict[str, Recipe]:
        for name in recipes:
            if not re.fullmatch(r"[A-Za-z][\w-]*", name):
                raise ValueError(f"{name!r} is no name of a recipe: use letters, digits, - and _")
        return recipes

    @field_validator("only")
    @classmethod
    def _are_recipes(
        cls, only: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        recipes = info.data.get("recipes")
        for name in only or ():
            if recipes is not None and name not in recipes:
                raise ValueError(
                    f"{name!r} is none of the recipes, which are {', '.join(recipes)}"
                )
        return only

    @property
    def chosen(self) -> dict[str, Recipe]:
        """The recipes that are to be trained and compared."""
        return {
            name: recipe
            for name, recipe in self.recipes.items()
            if self.only is None or name in self.only
        }


class Claim(Options):
    """One row of the report's table: what the paper claims and which of our numbers answers."""

    claim: str
    metrics: tuple[str, ...]
    measured: str


class Reporting(Block):
    """Words around the figures. Captions are keyed by file name without the suffix.

    ``column_order`` puts the categories of a code, counted from 0, into an order of one's own from
    left to right, as Figure 6 of the paper does; those of other codes stand as they are matched
    to classes, or as they are.
    """

    title: str
    dpi: Annotated[int, Field(ge=50, le=600, strict=True)]
    captions: dict[str, str]
    claims: tuple[Claim, ...]
    column_order: dict[str, tuple[Natural, ...]] = {}

    def check_column_order(self, model: Model) -> None:
        """UserError unless every order is one of all categories of a code of the model."""
        categories = {
            code.name: code.categories
            for code in model.codes
            if isinstance(code, CategoricalPrior)
        }
        for name, order in self.column_order.items():
            if name not in categories:
                raise UserError(
                    f"reporting.column_order names {name!r}, but the categorical codes of the "
                    f"model are {', '.join(categories) or 'none'}."
                )
            if sorted(order) != list(range(categories[name])):
                raise UserError(
                    f"reporting.column_order.{name} is {list(order)}: it must name each of the "
                    f"categories 0 to {categories[name] - 1} once."
                )


_INNER = (SourceFile, FaceScene, ChairScene, Claim, Consistency, Clustering, Recipe)

BLOCKS: dict[str, type[Block]] = {
    "source": Source,
    "data": Data,
    "model": Model,
    "training": Training,
    "evaluation": Evaluation,
    "reporting": Reporting,
}
# A data set may have one, too.
FURTHER_BLOCKS: dict[str, type[Block]] = {"study": Study}


def check_blocks(data: Data, model: Model, training: Training) -> None:
    """What only several blocks together can show; UserError names the keys."""
    model.check_image_shape(data.shape)
    if data.train.count is not None and training.batch_size > data.train.count:
        raise UserError(
            f"training.batch_size is {training.batch_size}, but data.train is '{data.train}', "
            f"only {data.train.count} images; a batch cannot be larger than the data."
        )
    check_training(model, training)


def check_training(model: Model, training: Training) -> None:
    """Of that what concerns no data: the codes that are named, and the processes."""
    categorical = [code.name for code in model.codes if isinstance(code, CategoricalPrior)]
    named = [("consistency.codes", name) for name in getattr(training.consistency, "codes", ())]
    if training.clustering:
        named.append(("clustering.code", training.clustering.code))
    for key, name in named:
        if name not in categorical:
            raise UserError(
                f"training.{key} names {name!r}, but the categorical codes of the "
                f"model are {', '.join(categorical) or 'none'}."
            )
    share, rest = divmod(training.batch_size, training.processes)
    if rest or share < 2:
        raise UserError(
            f"training.batch_size is {training.batch_size}, which cannot be divided equally among "
            f"training.devices x training.nodes = {training.processes} processes with at least "
            f"two images each: {max(2, share + (rest > 0)) * training.processes} can."
        )


# What may change between an interruption and its continuation.
_RESUMABLE = {
    "seeds",  # each has checkpoints of its own
    "seeds_at_once",
    "iterations",
    "baseline_iterations",
    "log_every",
    "checkpoint_every",
    "device",
    "resume",
    "cuda_graph",
    "profile",
    "devices",  # they change the rounding alone, unless each has batch norm of its own: see below
    "nodes",
}
# Code that decides the numbers in the rows of a history.
_TRAINS = (
    "batches",
    "clustering",
    "codes",
    "consistency",
    "distributed",
    "information",
    "networks",
    "schedules",
    "seeds",
    "training",
)


def fingerprint(model: Model, training: Training, data_sha256: str) -> str:
    """Identity of a training: equal for two runs exactly if one may continue the other."""
    parts = {
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json", exclude=_RESUMABLE),
        "data": data_sha256,
        "torch": version("torch"),
        "replicas": training.processes if training.batch_norm == "replica" else 1,
        "code": [
            hashlib.sha256(Path(__file__).with_name(f"{name}.py").read_bytes()).hexdigest()
            for name in _TRAINS
        ],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


_EXTENSIONS = (
    "clustering",
    "consistency",
    "instance_noise",
    "steps_g",
    "average_g",
    "joint_batch_norm",
)
_CONSTANT = ("lr_d", "lr_g", "lambda_categorical", "lambda_continuous")  # in the paper


def extensions(model: Model, training: Training) -> str:
    """What a training has that is not in the paper, as a sentence; empty if there is nothing."""
    fields = Training.model_fields
    found = [name for name in _EXTENSIONS if getattr(training, name) != fields[name].default]
    found += [name for name in _CONSTANT if isinstance(getattr(training, name), Schedule)]
    found = [f"training.{name}" for name in found]
    layers = (*model.generator, *model.trunk, *model.d_head, *model.q_head)
    found += ["spectral norm"] if any(layer.spectral_norm for layer in layers) else []
    listed = ", ".join(found)
    return f"Not the paper's game alone, but with {listed}." if found else ""


def flatten(block: Options, prefix: str) -> dict[str, Any]:
    """``{"training.lr_d": 2e-4, …}``; lists of lines become one text."""

    def walk(value: Any, path: str) -> Iterable[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, f"{path}.{key}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield path, ", ".join(str(item) for item in value)
        else:
            yield path, value

    return dict(walk(block.model_dump(mode="json"), prefix))
