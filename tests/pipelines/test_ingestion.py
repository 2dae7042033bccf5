import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from infogan.datasets import ArraysDataset
from infogan.datasets.values import Arrays, ArrayStream, RawImages, RawSplit
from infogan.errors import UserError
from infogan.options import Data, Source
from infogan.pipelines.ingestion.nodes import describe, fetch, preprocess
from infogan.pipelines.ingestion.pipeline import create_pipeline

SOURCE = Source.model_validate(
    {
        "files": [{"name": "a.gz", "bytes": 3, "sha256": "a" * 64}],
        "addresses": ["https://example.org"],
    }
)


def split(count: int, labelled: bool = True) -> RawSplit:
    generator = np.random.default_rng(count)
    images = generator.integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    return RawSplit(images, generator.integers(0, 10, count) if labelled else None)


RAW = RawImages({"train": split(8), "test": split(5)})


def data(train: str = "train[0:8]", test: str = "test[0:5]", *transforms: str) -> Data:
    shape = [1, 2, 2] if transforms else [1, 4, 4]
    return Data.model_validate(
        {"shape": shape, "transforms": list(transforms), "train": train, "test": test}
    )


def rows(array: np.ndarray | ArrayStream) -> np.ndarray:
    assert isinstance(array, ArrayStream)
    found = np.stack(list(array.rows))
    assert (found.shape, found.dtype.name) == (array.shape, array.dtype)
    return found


def test_fetching_hands_the_source_to_the_raw_dataset() -> None:
    assert fetch(SOURCE) is SOURCE


def test_whole_splits_become_their_images_and_labels() -> None:
    images, labels = preprocess(RAW, data())
    for name, raw in RAW.splits.items():
        np.testing.assert_array_equal(rows(images.splits[name]), raw.images)
        np.testing.assert_array_equal(labels[name], raw.labels)
        assert labels[name].dtype == np.int64


def test_slices_cut_images_and_labels_alike() -> None:
    images, labels = preprocess(RAW, data("train[2:7]", "train[7:8]"))
    whole = RAW.splits["train"]
    assert whole.labels is not None
    for name, part in (("train", slice(2, 7)), ("test", slice(7, 8))):
        np.testing.assert_array_equal(rows(images.splits[name]), whole.images[part])
        np.testing.assert_array_equal(labels[name], whole.labels[part])


def test_images_have_the_final_shape_after_their_transforms() -> None:
    images, _ = preprocess(RAW, data("train[0:8]", "test[0:5]", "center_crop 2x2"))
    for name, raw in RAW.splits.items():
        expected = np.asarray(raw.images)[:, :, 1:3, 1:3]
        np.testing.assert_array_equal(rows(images.splits[name]), expected)


def test_data_without_labels_have_empty_ones() -> None:
    raw = RawImages({"train": split(8, labelled=False), "test": split(5)})
    _, labels = preprocess(raw, data("train[2:4]"))
    assert labels["train"].shape == (0,)
    assert labels["train"].dtype == np.int64
    assert labels["test"].shape == (5,)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (data(train="train[0:9]"), r"data.train is 'train\[0:9\]', but train has only 8 images"),
        (data(test="test[3:6]"), r"data.test is 'test\[3:6\]', but test has only 5 images"),
        (data(test="extra[0:1]"), r"data.test is 'extra\[0:1\]', but .* only test and train"),
    ],
)
def test_a_slice_that_the_data_do_not_have_is_refused_at_once(options: Data, told: str) -> None:
    with pytest.raises(UserError, match=told):
        preprocess(RAW, options)


def test_the_card_says_what_the_arrays_are_and_were_made_from() -> None:
    options = data("train[2:7]", "test[0:5]")
    arrays = Arrays(
        {
            "train": np.asarray(RAW.splits["train"].images)[2:7],
            "test": np.asfortranarray(RAW.splits["test"].images),
        }
    )
    card = describe(arrays, SOURCE, options)
    assert card["shape"] == [1, 4, 4]
    assert card["transforms"] == []
    assert card["source"] == {"a.gz": "a" * 64}
    for name, count, part in (("train", 5, "train[2:7]"), ("test", 5, "test[0:5]")):
        expected = hashlib.sha256(arrays[name].tobytes(order="C")).hexdigest()
        assert card["splits"][name] == {"images": count, "from": part, "sha256": expected}


def test_the_card_names_every_transform_as_it_was_written() -> None:
    arrays = Arrays({name: np.zeros((1, 1, 2, 2), np.uint8) for name in ("train", "test")})
    options = data("train[0:1]", "test[0:1]", "center_crop 3x3", "resize 2x2", "grayscale")
    card = describe(arrays, SOURCE, options)
    assert card["transforms"] == ["center_crop 3x3", "resize 2x2", "grayscale"]


def test_another_pixel_gives_another_hash() -> None:
    images = {name: np.zeros((2, 1, 4, 4), np.uint8) for name in ("train", "test")}
    before = describe(Arrays(images), SOURCE, data())["splits"]
    images["test"][1, 0, 3, 3] = 1
    after = describe(Arrays(images), SOURCE, data())["splits"]
    assert before["train"] == after["train"]
    assert before["test"]["sha256"] != after["test"]["sha256"]


def test_the_stage_turns_raw_images_into_files_and_a_card_without_labels(tmp_path: Path) -> None:
    options = data("train[0:6]", "test[1:5]")
    catalog = DataCatalog(
        {
            "raw": MemoryDataset(RAW),
            "images": ArraysDataset(str(tmp_path), "images"),
            "labels": ArraysDataset(str(tmp_path), "labels"),
            "params:source": MemoryDataset(SOURCE),
            "params:data": MemoryDataset(options),
        }
    )
    stage = create_pipeline().only_nodes("preprocess", "describe")
    card = SequentialRunner().run(stage, catalog)["card"].load()

    images, labels = catalog.load("images"), catalog.load("labels")
    np.testing.assert_array_equal(images["train"], np.asarray(RAW.splits["train"].images)[:6])
    np.testing.assert_array_equal(labels["test"], np.asarray(RAW.splits["test"].labels)[1:])
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}_{kind}.npy" for name in ("train", "test") for kind in ("images", "labels")
    }
    assert "label" not in json.dumps(card)
    for name in ("train", "test"):
        expected = hashlib.sha256(np.load(tmp_path / f"{name}_images.npy").tobytes()).hexdigest()
        assert card["splits"][name]["sha256"] == expected
