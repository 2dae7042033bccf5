"""Any file dataset of kedro-datasets, but written whole or not at all."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from infogan.errors import UserError
from infogan.files import atomic


class AtomicDataset(AbstractDataset[Any, Any]):
    """Wraps a dataset that has a ``filepath``: it writes beside the file, which is then replaced.

    kedro-datasets truncate the old file first, so a failed or killed save would leave none.
    """

    def __init__(self, filepath: str, dataset: str | dict[str, Any]) -> None:
        self._path = Path(filepath)
        self._config = {"type": dataset} if isinstance(dataset, str) else dict(dataset)

    def _at(self, path: Path) -> AbstractDataset[Any, Any]:
        config = {**self._config, "filepath": path.as_posix()}
        return AbstractDataset.from_config("inner", config)

    def save(self, data: Any) -> None:
        """Save by the wrapped dataset, then rename."""
        with atomic(self._path) as temporary:
            self._at(temporary).save(data)

    def load(self) -> Any:
        """Load by the wrapped dataset."""
        if not self._path.exists():
            raise UserError(f"{self._path} is missing: run the stage that writes it first.")
        try:
            return self._at(self._path).load()
        except DatasetError as error:
            damage = error.__cause__
            if not isinstance(damage, ValueError):  # JSON and UTF-8 that are none
                raise
            raise UserError(
                f"{self._path} is damaged ({damage}): run the stage that writes it again."
            ) from None

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self._path

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "dataset": self._config["type"]}
