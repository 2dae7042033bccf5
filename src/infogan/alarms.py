"""What is worth stopping or warning about while a model trains, each with advice."""

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping

from infogan.errors import UserError
from infogan.options import Model

_logger = logging.getLogger(__name__)

WINDOW = 200  # iterations, before a state of affairs is worth a warning
GRACE = 500  # iterations, before images and codes can be expected to mean anything
_CERTAIN = (0.99, 0.01)  # D(real) above the first and D(fake) below the second: D wins
_LITTLE = 0.05  # of what there is to know of a code
_FLAT = 0.01  # of the pixel range

ADVICE = {
    "d_wins": "G learns little. Lower training.lr_d or raise training.lr_g, and check that the "
    "images fill model.pixel_range. With several codes, lower training.lambda_categorical and "
    "training.lambda_continuous.",
    "no_information": "G ignores the code. Raise its weight (training.lambda_categorical, "
    "training.lambda_continuous) or training.lr_g, or train longer.",
    "unused_category": "The categories do not divide the data evenly. Train longer, try another "
    "seed, or give the code fewer categories.",
    "no_variance": "G has collapsed to one image. Lower training.lr_g, or try another seed.",
}


def least_information(model: Model) -> dict[str, tuple[float, str]]:
    """L_I of each code below which G ignores it, in nats, and what that is, in words."""
    return {prior.name: prior.little(_LITTLE, model.spread) for prior in model.codes}


class Alarms:
    """Looks at the numbers of one training; warns once of each kind, of codes that G ignores once
    of each (``no_information`` of the first, ``no_information.c2`` …), and stops what diverges.

    ``least`` is ``least_information`` of the codes that G is told about. ``tell`` is given the
    kind and the words of a warning.
    """

    def __init__(
        self,
        name: str,
        least: Mapping[str, tuple[float, str]],
        tell: Callable[[str, str], None],
    ) -> None:
        self.raised: dict[str, str] = {}
        self._name = name
        self._least = least
        self._tell = tell
        self._certain = 0
        self._bounds = {code: deque[float](maxlen=WINDOW) for code in least}

    def watch(self, iteration: int, numbers: Mapping[str, float]) -> None:
        """The numbers of one minibatch; UserError if one is not finite."""
        for column, value in numbers.items():
            if not math.isfinite(value):
                raise self.diverged(f"{column} is {value}", iteration)
        certain = numbers["d_real"] > _CERTAIN[0] and numbers["d_fake"] < _CERTAIN[1]
        self._certain = self._certain + 1 if certain else 0
        if self._certain >= WINDOW:
            self._warn(
                "d_wins",
                f"for {WINDOW} iterations, up to {iteration}, D has told real from generated "
                "images almost perfectly",
            )
        for code, (least, words) in self._least.items():
            bounds = self._bounds[code]
            bounds.append(numbers[f"lower_bound.{code}"])
            mean = sum(bounds) / len(bounds)
            if iteration >= GRACE and len(bounds) == WINDOW and mean < least:
                self._warn(
                    "no_information",
                    f"over {WINDOW} iterations, up to {iteration}, L_I({code}) was {mean:.3f} "
                    f"nats, less than {words}",
                    "" if code == next(iter(self._least)) else f".{code}",
                )

    def examine(self, iteration: int, contrast: float, unused: Mapping[str, list[int]]) -> None:
        """What the images show; see ``information.contrast`` and ``unused``."""
        if iteration < GRACE:  # an untrained G makes the same grey image of everything
            return
        if contrast < _FLAT:
            self._warn(
                "no_variance",
                f"at iteration {iteration} a pixel of generated images varies by only "
                f"{contrast:.2%} of its range",
            )
        for code, categories in unused.items():
            if categories and code in self._least:
                listed = ", ".join(map(str, categories))
                self._warn(
                    "unused_category",
                    f"at iteration {iteration} no real image looked at falls into category "
                    f"{listed} of {code}",
                )

    def diverged(self, what: str, iteration: int) -> UserError:
        """The error of a training whose numbers are no numbers any longer."""
        return UserError(
            f"{self._name} diverged: {what} at iteration {iteration}. Lower training.lr_d and "
            "training.lr_g, or set model.spread to fixed."
        )

    def _warn(self, kind: str, what: str, of: str = "") -> None:
        """``of`` is what else tells it from others of its kind."""
        name = kind + of
        if name in self.raised:
            return
        words = f"{what}. {ADVICE[kind]}"
        self.raised[name] = words
        _logger.warning("%s: %s", self._name, words)
        self._tell(name, words)
