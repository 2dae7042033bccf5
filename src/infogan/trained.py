"""A trained model in use: images to codes, codes to images.

Everything a person may hand over is checked here, and what is wrong is said in one sentence. The
model of a tracked run carries a copy of this module and of those it imports, so it keeps working
whatever becomes of the project: ``infogan.registry`` copies them.
"""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from infogan.codes import Categorical, LatentSpace
from infogan.datasets.decoding import decode
from infogan.errors import Rejected, UserError
from infogan.networks import rebuild, to_uint8
from infogan.options import Shape, UniformPrior, format_shape, parse_transform
from infogan.preprocessing import compose
from infogan.seeds import derive_seed

if TYPE_CHECKING:
    from PIL.Image import Image

CLASS_WORDS = ("class", "digit")  # instead of a code: the category that was matched to a class
FILE_LIMIT = 64_000_000  # bytes of an image file

_CHUNK = 256  # images at a time
_LARGEST = 1e6  # values of continuous codes, far beyond any that means something
_ROUNDING = 1e-6
_UNMATCHED = -1


@dataclass(frozen=True)
class Knob:
    """One thing that can be set: a categorical code, or one dimension of a continuous one."""

    name: str
    column: int  # its first in a latent vector
    categories: int  # 0: continuous
    low: float
    high: float

    def __str__(self) -> str:
        if self.categories:
            return f"{self.name} (0 to {self.categories - 1})"
        return f"{self.name} (trained from {self.low:g} to {self.high:g})"


Values = Mapping[str, Any]  # by the names of knobs or CLASS_WORDS


class Trained:
    """Networks in eval mode on the CPU, and what is known of their categories and images.

    ``matched`` is what evaluation found, without labels nothing: ``code``, ``class_of_category``,
    -1 where a category is left over, ``class_names``, if they are no numbers, and what each code
    ``tells`` of, in words. With them come the ``transforms`` that made the images it was trained
    on, where they are known.
    """

    def __init__(
        self,
        card: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        matched: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self._networks = rebuild(card, arrays)
        self.shape: Shape = tuple(card["image_shape"])
        self.space = LatentSpace(self.model)
        self.matched = dict(matched or {})
        self.transforms = tuple(map(parse_transform, self.matched.get("transforms", ())))
        self.knobs = {knob.name: knob for knob in _knobs(self.space)}

    @classmethod
    def load(cls, path: Path, matched: Mapping[str, Any] | None = None) -> Self:
        """From a safetensors file; UserError if it is missing, damaged or not one of ours."""
        return cls(*card_and_arrays(path), matched)

    @property
    def classes(self) -> dict[float | str, int]:
        """The category of each class that has one, by the class's name or else its number."""
        found = self.matched.get("class_of_category", [])
        places = {each: place for place, each in enumerate(found) if each != _UNMATCHED}
        return {self._called(each): places[each] for each in sorted(places)}

    def _called(self, number: int) -> int | str:
        names = self.matched.get("class_names")
        return names[number] if names else number

    def describe(self) -> str:
        """Everything that can be set, with its values."""
        names = [str(knob) for knob in self.knobs.values()]
        if self.classes:
            words = " or ".join(CLASS_WORDS)
            names.append(f"{words} ({', '.join(map(str, self.classes))})")
        return ", ".join(names)

    # --- Codes to images -------------------------------------------------------------------------

    def set(self, name: str, value: Any) -> tuple[Knob, float]:
        """What a name and a value mean; UserError names the codes or the values there are."""
        if name in CLASS_WORDS and name not in self.knobs and self.classes:
            wanted = self._class(name, value)
            if wanted not in self.classes:
                known = ", ".join(map(str, self.classes))
                raise UserError(f"{name} is {wanted}, but the classes are {known}.")
            return self.knobs[self.matched["code"]], float(self.classes[wanted])
        if name not in self.knobs:
            what = "matched to no classes" if name in CLASS_WORDS else "not a code of this model"
            raise UserError(f"{name!r} is {what}: it has {self.describe()}.")
        knob = self.knobs[name]
        number = _number(name, value)
        if knob.categories and number not in range(knob.categories):
            raise UserError(
                f"{name} is {number:g}, but its categories are 0 to {knob.categories - 1}."
            )
        if abs(number) > _LARGEST:
            raise UserError(
                f"{name} is {number:g}, which is beyond all meaning: it was trained from "
                f"{knob.low:g} to {knob.high:g}."
            )
        return knob, number

    def _class(self, name: str, value: Any) -> float | str:
        """The class that a value means; a name that is a number may be given as one."""
        named = "class_names" in self.matched
        if named and isinstance(value, str):
            return value
        number = _number(name, value)
        whole = int(number) if number.is_integer() else number
        return str(whole) if named else whole

    def concerns(self, rows: Sequence[Values]) -> list[str]:
        """Values outside of what G was trained on: allowed, but worth a word."""
        said: dict[str, str] = {}
        for row in rows:
            for name, value in row.items():
                knob, number = self.set(name, value)
                if not knob.categories and not knob.low <= number <= knob.high:
                    said[name] = (
                        f"{name} is {number:g}, but it was trained from {knob.low:g} to "
                        f"{knob.high:g}: beyond, images may be anything."
                    )
        return list(said.values())

    def generate(self, rows: Sequence[Values], count: int, seed: int) -> np.ndarray:
        """``count`` images of each row of codes, row by row: uint8 (rows * count, C, H, W).

        What a row leaves out is drawn from the prior, as is the noise: from ``seed`` and the
        number of the image within its row. So rows differ in what they say only, and the first
        images stay the same if more are asked for. UserError if count, seed or a code cannot be.
        """
        if count < 1:
            raise UserError(f"count is {count}, but at least one image must be asked for.")
        if seed < 0:
            raise UserError(f"seed is {seed}, but it must not be negative.")
        return self._made(rows, [(seed, number) for number in range(count)])

    def draws(self, row: Values, seeds: Sequence[int]) -> np.ndarray:
        """One image of each seed: ``generate([row], 1, seed)``, together, (seeds, C, H, W)."""
        return self._made([row], [(seed, 0) for seed in seeds])

    @torch.no_grad()
    def _made(self, rows: Sequence[Values], draws: Sequence[tuple[int, int]]) -> np.ndarray:
        """An image of each row for each draw, which is a seed and a number."""
        drawn = torch.cat(
            [
                self.space.sample(1, torch.Generator().manual_seed(derive_seed(seed, number)))
                for seed, number in draws
            ]
        )  # (draws, L)
        latent = drawn.repeat(len(rows), 1)
        for place, row in enumerate(rows):
            self._apply(row, latent[place * len(draws) : (place + 1) * len(draws)])
        generator = self._networks.generator
        return np.concatenate(
            [
                to_uint8(generator(chunk), self.model.pixel_range).numpy()
                for chunk in torch.split(latent, _CHUNK)
            ]
        )

    def _apply(self, row: Values, latent: torch.Tensor) -> None:
        """Write the codes of a row into latent vectors (count, L)."""
        named: dict[str, str] = {}
        for name, value in row.items():
            knob, number = self.set(name, value)
            if knob.name in named:
                raise UserError(f"{named[knob.name]} and {name} both set {knob.name}: give one.")
            named[knob.name] = name
            if knob.categories:
                latent[:, knob.column : knob.column + knob.categories] = 0.0
                latent[:, knob.column + int(number)] = 1.0
            else:
                latent[:, knob.column] = number

    # --- Images to codes -------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What Q reads in images, float32 (N, C, H, W) in [0, 1]: a column of N each.

        Categorical ``c1``: ``c1``, the likeliest category, and ``c1_p0``, ``c1_p1``, …, the
        probability of each; ``class``, if its categories were matched to classes, None if this
        one was not. Continuous ``c2``: ``c2``, the mean, and ``c2_sd``, the standard deviation.
        """
        low, high = self.model.pixel_range
        pixels = torch.from_numpy(np.ascontiguousarray(images, np.float32))
        discriminator = self._networks.discriminator
        outputs = torch.cat(
            [discriminator(chunk * (high - low) + low)[1] for chunk in torch.split(pixels, _CHUNK)]
        )
        columns: dict[str, np.ndarray] = {}
        for name, place in self.space.q_columns():
            code = self.space.codes[name]
            if isinstance(code, Categorical):
                probabilities = code.probabilities(outputs[:, place]).numpy()
                columns[name] = probabilities.argmax(axis=1)
                columns |= {f"{name}_p{k}": each for k, each in enumerate(probabilities.T)}
                if self.matched.get("code") == name:
                    columns["class"] = self._classes_of(columns[name])
                continue
            posterior = code.posterior(outputs[:, place])
            for dimension in range(code.prior.dim):
                label = _dimension(code.prior, dimension)
                columns[label] = posterior.mean[:, dimension].numpy()
                columns[f"{label}_sd"] = posterior.stddev[:, dimension].numpy()
        return columns

    def _classes_of(self, categories: np.ndarray) -> np.ndarray:
        found = self.matched["class_of_category"]
        names = [None if each == _UNMATCHED else self._called(each) for each in found]
        return np.asarray(np.array(names, object)[categories])

    def as_pixels(self, images: Any) -> np.ndarray:
        """What people hold as float32 (N, C, H, W) in [0, 1]; UserError if these are no images.

        (N, C, H, W), (N, H, W, C) or, with one channel, (N, H, W). Whole numbers are levels from 0
        to 255, unless none exceeds 1; others are in [0, 1].
        """
        array = self._in_order(_array(images))
        if not np.issubdtype(array.dtype, np.integer):
            array = array.astype(np.float64, copy=False)
            if not np.isfinite(array).all():
                raise UserError("a pixel is NaN or infinite, but all must be numbers.")
            top = 1.0
        else:
            top = 1.0 if array.dtype != np.uint8 and array.max() <= 1 else 255.0
        smallest, largest = array.min(), array.max()
        if smallest < -_ROUNDING or largest > top + _ROUNDING:
            raise UserError(
                f"pixels go from {smallest:g} to {largest:g}, but must be in [0, 1], or whole "
                "numbers from 0 to 255."
            )
        return np.asarray(array / top, np.float32).clip(0, 1)

    def _in_order(self, array: np.ndarray) -> np.ndarray:
        channels, height, width = self.shape
        if array.shape[1:] == self.shape:
            return array
        if array.shape[1:] == (height, width, channels):
            return array.transpose(0, 3, 1, 2)
        if channels == 1 and array.shape[1:] == (height, width):
            return array[:, None]
        accepted = f"(N, {channels}, {height}, {width}) or (N, {height}, {width}, {channels})"
        if channels == 1:
            accepted += f" or (N, {height}, {width})"
        raise UserError(f"images are {array.shape}, but this model reads {accepted}.")

    def read(self, content: bytes) -> tuple[np.ndarray, str | None]:
        """The image of a file's content as uint8 (C, H, W), and what had to be changed of it.

        1. One of the model's shape is taken as it is.
        2. Another is prepared as those of the training were.
        3. Where that is not known, not possible or not enough, it is cut to the model's
           proportions, from the middle, and resized; grey becomes RGB or RGB grey as the model
           needs.

        ``Rejected`` if it is no image.
        """
        image = decode(content)
        if image.shape == self.shape:
            return image, None
        given, made = (format_shape(shape) for shape in (image.shape, self.shape))
        try:
            prepared = compose(self.transforms)(image)
        except Rejected as reason:  # less than what is cut out of others
            return _fit(image, self.shape), f"{reason}, and was made {made}"
        if prepared.shape == self.shape:
            listed = ", ".join(map(str, self.transforms))
            return prepared, f"is {given} and was prepared as for the training: {listed}"
        before = f", after {', '.join(map(str, self.transforms))}" if self.transforms else ""
        return _fit(prepared, self.shape), f"is {given} and was made {made}{before}"

    def read_file(self, path: Path) -> tuple[np.ndarray, str | None]:
        """The same of a file; ``Rejected``, too, if it cannot be read."""
        try:
            if path.exists() and not path.is_file():
                raise Rejected("is not a file")
            if path.stat().st_size > FILE_LIMIT:
                raise Rejected(f"has more than {FILE_LIMIT:,} bytes")
            return self.read(path.read_bytes())
        except FileNotFoundError:
            raise Rejected("is not there") from None
        except (OSError, ValueError) as error:  # ValueError: a zero byte within the path
            raise Rejected(f"cannot be read ({getattr(error, 'strerror', error)})") from None


def card_and_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Of a safetensors file; UserError if it is missing, damaged or not one of ours."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"{path} is not there: train a model first, or name another file.")
    with path.open("rb"):
        pass  # what may not be read is told by the system; safetensors says it is not there
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})["card"])
            return card, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError):
        raise UserError(f"{path} is no model of this project, or it is damaged.") from None


def _knobs(space: LatentSpace) -> list[Knob]:
    knobs = []
    for name, place in space.columns():
        prior = space.codes[name].prior
        if isinstance(prior, UniformPrior):
            knobs += [
                Knob(_dimension(prior, each), place.start + each, 0, prior.low, prior.high)
                for each in range(prior.dim)
            ]
        else:
            knobs.append(Knob(name, place.start, prior.categories, 0, prior.categories - 1))
    return knobs


def _dimension(prior: UniformPrior, number: int) -> str:
    return f"{prior.name}_{number}" if prior.dim > 1 else prior.name


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{name} is {value!r}, but must be a number.")
    return number


def _array(images: Any) -> np.ndarray:
    """Numbers as an array; UserError for text, lists of different lengths, and nothing."""
    try:
        array = np.asarray(images)
    except ValueError:
        raise UserError("images are lists of different lengths, not an array.") from None
    if array.dtype == bool:
        array = array.astype(np.float32)
    if not np.issubdtype(array.dtype, np.integer) and not np.issubdtype(array.dtype, np.floating):
        raise UserError("these are no images: an array of numbers is needed.")
    if array.ndim == 0 or not len(array):
        raise UserError("there is no image among what was given.")
    return array


def _fit(image: np.ndarray, shape: Shape) -> np.ndarray:
    """A uint8 image (C, H, W) of any size and colour in the given shape."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    picture = _picture(image).convert("L" if channels == 1 else "RGB")
    fitted = np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.BOX))
    return fitted[None] if channels == 1 else np.ascontiguousarray(fitted.transpose(2, 0, 1))


def png(image: np.ndarray) -> bytes:
    """A uint8 image (C, H, W), of one or three channels, as the content of a PNG file."""
    content = io.BytesIO()
    _picture(image).save(content, "PNG")
    return content.getvalue()


def _picture(image: np.ndarray) -> "Image":
    """A uint8 image (C, H, W), of one or three channels, as one of Pillow."""
    from PIL.Image import fromarray

    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    return fromarray(np.ascontiguousarray(pixels))
