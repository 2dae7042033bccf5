import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError
from safetensors.numpy import save_file

from infogan.datasets import WeightsDataset
from infogan.datasets.values import Weights
from infogan.errors import UserError

Refused = Callable[[str], AbstractContextManager[None]]

CARD = {
    "model": {"noise": "uniform 62", "codes": ["c1 categorical 10", "c2 uniform -1 1"]},
    "pixel_range": [0.0, 1.0],
    "text": "Größe: 1×28×28",
    "nothing": None,
    "step": 5000,
}


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "fc.weight": generator.normal(size=(3, 4)).astype(np.float32),
        "bn.running_mean": generator.normal(size=5).astype(np.float32),
        "bn.num_batches_tracked": np.array(1234, np.int64),
        "images": generator.integers(0, 256, (2, 1, 3, 3), dtype=np.uint8),
        "double": generator.normal(size=2),
        "empty": np.empty((0, 7), np.float32),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "infogan.safetensors"


def test_arrays_and_card_survive(path: Path) -> None:
    dataset = WeightsDataset(str(path))
    assert not dataset.exists()
    dataset.save(Weights(arrays(), CARD))
    assert dataset.exists()
    found = dataset.load()
    assert found.card == CARD
    assert set(found.arrays) == set(arrays())
    for name, array in arrays().items():
        np.testing.assert_array_equal(found.arrays[name], array, strict=True)


def test_counters_without_dimensions_keep_their_value_type_and_shape(path: Path) -> None:
    dataset = WeightsDataset(str(path))
    for value in (0, 1, -5, 2**62):
        dataset.save(Weights({"n": np.array(value, np.int64)}, {}))
        found = dataset.load().arrays["n"]
        assert (found.shape, found.dtype, int(found)) == ((), np.dtype(np.int64), value)


def test_views_in_any_memory_order_keep_their_values(path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    made = {"transposed": base.T, "fortran": np.asfortranarray(base), "sparse": base[:, ::2]}
    dataset = WeightsDataset(str(path))
    dataset.save(Weights(made, {}))
    found = dataset.load().arrays
    for name, array in made.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_the_same_content_gives_the_same_bytes_in_every_order(path: Path) -> None:
    dataset = WeightsDataset(str(path))
    dataset.save(Weights(arrays(), CARD))
    expected = path.read_bytes()
    shuffler = random.Random(0)
    for _ in range(10):
        names, keys = list(arrays()), list(CARD)
        shuffler.shuffle(names)
        shuffler.shuffle(keys)
        card = {key: CARD[key] for key in keys}
        dataset.save(Weights({name: arrays()[name] for name in names}, card))
        assert path.read_bytes() == expected


def test_what_was_loaded_and_saved_again_has_the_same_bytes(path: Path, tmp_path: Path) -> None:
    WeightsDataset(str(path)).save(Weights(arrays(), CARD))
    again = tmp_path / "again.safetensors"
    WeightsDataset(str(again)).save(WeightsDataset(str(path)).load())
    assert again.read_bytes() == path.read_bytes()


COPY = """
import sys
from infogan.datasets import WeightsDataset
from infogan.datasets.values import Weights
found = WeightsDataset(sys.argv[1]).load()
names = sorted(found.arrays, reverse=True)
card = dict(reversed(found.card.items()))
WeightsDataset(sys.argv[2]).save(Weights({name: found.arrays[name] for name in names}, card))
"""


def test_a_fresh_process_writes_the_same_bytes(path: Path, tmp_path: Path) -> None:
    WeightsDataset(str(path)).save(Weights(arrays(), CARD))
    again = tmp_path / "again.safetensors"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", COPY, str(path), str(again)]
    subprocess.run(command, check=True, env=environment)
    assert again.read_bytes() == path.read_bytes()


def test_other_content_gives_other_bytes(path: Path) -> None:
    dataset = WeightsDataset(str(path))
    dataset.save(Weights(arrays(), CARD))
    before = path.read_bytes()
    dataset.save(Weights(arrays(), {**CARD, "step": 5001}))
    assert path.read_bytes() != before


def test_a_card_that_json_cannot_hold_leaves_the_old_file(path: Path) -> None:
    dataset = WeightsDataset(str(path))
    dataset.save(Weights(arrays(), CARD))
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="not JSON serializable"):
        dataset.save(Weights(arrays(), {"model": object()}))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def header_length(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def test_a_file_cut_anywhere_is_refused_by_name(path: Path, refused: Refused) -> None:
    WeightsDataset(str(path)).save(Weights(arrays(), CARD))
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with refused("infogan.safetensors is not a readable safetensors file"):
            WeightsDataset(str(path)).load()


def test_a_flipped_bit_in_the_header_never_ends_in_another_error(path: Path) -> None:
    WeightsDataset(str(path)).save(Weights(arrays(), CARD))
    whole = path.read_bytes()
    places = random.Random(0).sample(range(8 * header_length(whole)), 750)
    refusals, others = 0, {}
    for place in [*range(64), *places]:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = WeightsDataset(str(path)).load()
        except DatasetError as error:
            if not isinstance(error.__cause__, UserError):
                others[place] = repr(error.__cause__)
            refusals += 1
        else:  # a name, or a word of the card
            assert len(found.arrays) == len(arrays())
    assert others == {}
    assert refusals > 400


def test_a_flipped_bit_in_the_numbers_changes_one_of_them(path: Path) -> None:
    made = {"a": np.arange(50, dtype=np.int32), "b": np.arange(60, dtype=np.uint8)}
    WeightsDataset(str(path)).save(Weights(made, CARD))
    whole = path.read_bytes()
    start = header_length(whole)
    for place in random.Random(1).sample(range(8 * start, 8 * len(whole)), 200):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        found = WeightsDataset(str(path)).load()
        assert found.card == CARD
        assert sum(int((found.arrays[name] != made[name]).sum()) for name in made) == 1


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_foreign_safetensors_file_is_refused(
    path: Path, refused: Refused, metadata: dict[str, str] | None
) -> None:
    save_file(arrays(), path, metadata)
    with refused("has no 'card' in its metadata: it was not written by infogan"):
        WeightsDataset(str(path)).load()


def test_a_card_that_is_not_json_is_refused(path: Path, refused: Refused) -> None:
    save_file(arrays(), path, {"card": json.dumps(CARD)[:-1]})
    with refused("infogan.safetensors is not a readable safetensors file"):
        WeightsDataset(str(path)).load()


def test_a_missing_file_says_what_makes_it(path: Path, refused: Refused) -> None:
    with refused("infogan.safetensors is missing: run the stage that writes it first"):
        WeightsDataset(str(path)).load()
