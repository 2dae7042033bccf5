"""Several models by name: a folder with a file each."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from infogan.datasets.values import Weights
from infogan.datasets.weights import WeightsDataset


class ModelsDataset(AbstractDataset[dict[str, Weights], dict[str, Weights]]):
    """``<path>/<name>.safetensors``; possibly none."""

    def __init__(self, path: str) -> None:
        self._folder = Path(path)

    def save(self, data: dict[str, Weights]) -> None:
        """Write every model, each whole or not at all, and remove those of other names."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, weights in data.items():
            self._file(name).save(weights)
        for path in self._folder.glob("*.safetensors"):
            if path.stem not in data:
                path.unlink()

    def load(self) -> dict[str, Weights]:
        """All models, by name."""
        names = sorted(path.stem for path in self._folder.glob("[!.]*.safetensors"))
        return {name: self._file(name).load() for name in names}

    def _file(self, name: str) -> WeightsDataset:
        return WeightsDataset(str(self._folder / f"{name}.safetensors"))

    def _exists(self) -> bool:
        return self._folder.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._folder)}
