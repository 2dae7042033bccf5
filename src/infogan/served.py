"""The model of a tracked run as MLflow loads and serves it: ``mlflow.pyfunc``, two tasks in one.

It is copied into each model, with all it imports from this package: see ``infogan.registry``.
"""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from infogan.errors import Rejected, UserError
from infogan.trained import Trained

_TASKS = ("encode", "generate")
_FILES = ("path", "image")  # columns of a frame: paths, or the content of files in base64


class InvalidInput(MlflowException):  # type: ignore[misc]  # MLflow is not typed
    """Answered by HTTP 400 and its sentence; the server would put all of the input before it."""

    @property
    def message(self) -> str:
        """What was wrong."""
        return str(self.args[0])

    @message.setter
    def message(self, _text: str) -> None:
        pass


class Served(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """``encode``, images to codes, or ``generate``, codes to images: the parameter ``task``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights, and which category is which class."""
        matched = json.loads(Path(context.artifacts["categories"]).read_text())
        self._trained = Trained.load(Path(context.artifacts["model"]), matched)
        self._max_images = int(context.model_config["max_images"])

    # The annotation keeps MLflow from asking for one; what is accepted it cannot say.
    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame | np.ndarray:
        """A frame of codes for images, or images, uint8 (N, C, H, W), for codes.

        Encode: an array, or a frame with a column ``path``, or ``image`` (files in base64).
        Generate: a frame with a row of codes each, of which any may be missing.
        """
        chosen = {"task": "encode", "seed": 0, "count": 1, **(params or {})}
        try:
            if chosen["task"] == "encode":
                return self._encode(_frame_or_array(model_input))
            if chosen["task"] == "generate":
                return self._generate(model_input, int(chosen["count"]), int(chosen["seed"]))
            raise UserError(f"task is {chosen['task']!r}, but must be {' or '.join(_TASKS)}.")
        except (UserError, Rejected) as error:
            raise InvalidInput.invalid_parameter_value(str(error)) from None

    def _encode(self, given: pd.DataFrame | np.ndarray) -> pd.DataFrame:
        if given.ndim:
            self._refuse_many(len(given))
        if not isinstance(given, pd.DataFrame):
            return pd.DataFrame(self._trained.encode(self._trained.as_pixels(given)))
        column = next((name for name in _FILES if name in given.columns), None)
        if column is None:
            raise UserError(
                f"the columns are {', '.join(map(str, given.columns)) or 'none'}, but to encode, "
                "give an array of images, a column 'path', or a column 'image' (a file in base64)."
            )
        images = [self._file(column, value) for value in given[column]]
        if not images:
            raise UserError("there is no image among what was given.")
        read = self._trained.encode(self._trained.as_pixels(np.stack(images)))
        beside = {"path": list(given["path"])} if column == "path" else {}
        return pd.DataFrame({**beside, **read})

    def _file(self, column: str, value: Any) -> np.ndarray:
        if column == "path":
            if not isinstance(value, str) or not value:
                raise UserError(f"path is {value!r}, but must be the path of an image file.")
            try:
                return self._trained.read_file(Path(value))[0]
            except Rejected as error:
                raise UserError(f"{value} {error}.") from None
        try:
            return self._trained.read(base64.b64decode(value, validate=True))[0]
        except (binascii.Error, TypeError, ValueError):
            raise UserError("image must be the content of a file in base64.") from None
        except Rejected as error:
            raise UserError(f"the content of 'image' {error}.") from None

    def _generate(self, given: Any, count: int, seed: int) -> np.ndarray:
        rows = _rows(given)
        self._refuse_many(len(rows) * count)
        return self._trained.generate(rows, count, seed)

    def _refuse_many(self, images: int) -> None:
        if images > self._max_images:
            raise UserError(
                f"{images:,} images are asked for at once, but at most {self._max_images:,} are "
                "answered: send them in parts."
            )


def _frame_or_array(given: Any) -> pd.DataFrame | np.ndarray:
    if isinstance(given, pd.DataFrame):
        return given
    if isinstance(given, dict) or (isinstance(given, list) and _are_records(given)):
        return _frame(given)
    try:
        return np.asarray(given)
    except ValueError:
        raise UserError("images are lists of different lengths, not an array.") from None


def _are_records(given: list[Any]) -> bool:
    return bool(given) and all(isinstance(each, dict) for each in given)


def _frame(given: Any) -> pd.DataFrame:
    try:
        return pd.DataFrame(given)
    except (TypeError, ValueError):
        raise UserError("the columns are not lists of the same length.") from None


def _rows(given: Any) -> list[dict[str, Any]]:
    """Codes of each image to be made; what is empty is left out."""
    if given is None or (isinstance(given, dict) and not given):
        return [{}]
    if not isinstance(given, pd.DataFrame | dict | list):
        raise UserError("to generate, give a row of codes for each image, such as {'c1': 3}.")
    if isinstance(given, list) and not _are_records(given):
        raise UserError("to generate, give a row of codes for each image, such as {'c1': 3}.")
    frame = given if isinstance(given, pd.DataFrame) else _frame(given)
    if not len(frame):
        raise UserError("to generate, give a row of codes for each image; an empty row will do.")
    records = frame.astype(object).to_dict(orient="records")
    return [
        {str(name): value for name, value in record.items() if not _empty(value)}
        for record in records
    ]


def _empty(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
