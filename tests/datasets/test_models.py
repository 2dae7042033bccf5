"""Several models in a folder are exactly those that were saved."""

from pathlib import Path

import numpy as np

from infogan.datasets import ModelsDataset
from infogan.datasets.values import Weights


def weights(value: float) -> Weights:
    return Weights({"w": np.full(3, value, np.float32)}, {"value": value})


def test_models_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    dataset = ModelsDataset(str(tmp_path / "seeds"))
    assert not dataset.exists()
    dataset.save({"1": weights(1.0), "10": weights(10.0)})
    found = dataset.load()
    assert {name: each.card["value"] for name, each in found.items()} == {"1": 1.0, "10": 10.0}
    np.testing.assert_array_equal(found["10"].arrays["w"], np.full(3, 10.0, np.float32))


def test_models_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    dataset = ModelsDataset(str(tmp_path / "seeds"))
    dataset.save({"1": weights(1.0), "2": weights(2.0)})
    dataset.save({"2": weights(3.0)})
    assert {name: each.card["value"] for name, each in dataset.load().items()} == {"2": 3.0}
    dataset.save({})
    assert dataset.load() == {}
    assert dataset.exists()


def test_what_a_killed_process_left_is_no_model(tmp_path: Path) -> None:
    dataset = ModelsDataset(str(tmp_path / "seeds"))
    dataset.save({"1": weights(1.0)})
    left = tmp_path / "seeds" / ".2.tmp.safetensors"
    left.touch()
    assert list(dataset.load()) == ["1"]
    dataset.save({"1": weights(1.0)})
    assert not left.exists()
