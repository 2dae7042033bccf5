"""Named arrays and a card in one safetensors file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset

from infogan.datasets.values import Weights
from infogan.errors import UserError
from infogan.files import atomic

_CARD = "card"  # the only metadata key: with several, safetensors writes them in random order


class WeightsDataset(AbstractDataset[Weights, Weights]):
    """The same content gives the same bytes, so DVC sees a change only where there is one."""

    def __init__(self, filepath: str) -> None:
        self._path = Path(filepath)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def save(self, data: Weights) -> None:
        """Write arrays and card."""
        from safetensors.numpy import save

        card = json.dumps(data.card, sort_keys=True)
        arrays = {name: np.asarray(array, order="C") for name, array in data.arrays.items()}
        with atomic(self._path) as temporary:
            # Through memory, so that a full disk is an OSError like any other.
            temporary.write_bytes(save(arrays, {_CARD: card}))

    def load(self) -> Weights:
        """Read arrays and card; UserError if the file is missing, damaged or not one of ours."""
        from safetensors import SafetensorError, safe_open

        if not self._path.exists():
            raise UserError(f"{self._path} is missing: run the stage that writes it first.")
        with self._path.open("rb"):
            pass  # what may not be read is told by the system; safetensors says it is not there
        try:
            with safe_open(self._path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            card = json.loads(metadata[_CARD])
        except (SafetensorError, json.JSONDecodeError) as error:
            raise UserError(f"{self._path} is not a readable safetensors file: {error}.") from None
        except KeyError:
            raise UserError(
                f"{self._path} has no {_CARD!r} in its metadata: it was not written by infogan."
            ) from None
        return Weights(arrays, card)

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
