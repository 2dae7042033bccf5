import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from infogan.datasets import ArraysDataset
from infogan.datasets.values import Arrays, Factor, RawImages, RawSplit
from infogan.errors import Rejected, UserError
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


FACTS: dict[str, Any] = {
    "from": {"train": "train[2:7]", "test": "test[0:5]"},
    "source": {"a.gz": "a" * 64},
    "partial": {},
    "rejected": 0,
    "factors": [],
    "factors_of_object": [],
}
ORIGIN = {"a.gz": "a" * 64}
RAW = RawImages({"train": split(8), "test": split(5)}, origin=ORIGIN)


def data(train: str = "train[0:8]", test: str = "test[0:5]", *transforms: str) -> Data:
    shape = [1, 2, 2] if transforms else [1, 4, 4]
    return Data.model_validate(
        {"shape": shape, "transforms": list(transforms), "train": train, "test": test}
    )


def prepared(
    raw: RawImages, options: Data, folder: Path, source: Source = SOURCE
) -> tuple[Arrays, Arrays, Arrays, str, dict[str, Any]]:
    return preprocess(lambda _: raw, folder, source, options)


def test_fetching_hands_the_source_to_the_raw_dataset() -> None:
    assert fetch(SOURCE) is SOURCE


def test_whole_splits_become_their_images_and_labels(tmp_path: Path) -> None:
    images, labels, *_ = prepared(RAW, data(), tmp_path)
    for name, raw in RAW.splits.items():
        np.testing.assert_array_equal(images[name], raw.images)
        np.testing.assert_array_equal(labels[name], raw.labels)
        assert labels[name].dtype == np.int64


def test_slices_cut_images_and_labels_alike(tmp_path: Path) -> None:
    images, labels, *_ = prepared(RAW, data("train[2:7]", "train[7:8]"), tmp_path)
    whole = RAW.splits["train"]
    assert whole.labels is not None
    for name, part in (("train", slice(2, 7)), ("test", slice(7, 8))):
        np.testing.assert_array_equal(images[name], whole.images[part])
        np.testing.assert_array_equal(labels[name], whole.labels[part])


def test_images_have_the_final_shape_after_their_transforms(tmp_path: Path) -> None:
    options = data("train[0:8]", "test[0:5]", "center_crop 2x2")
    images, *_ = prepared(RAW, options, tmp_path)
    for name, raw in RAW.splits.items():
        expected = np.asarray(raw.images)[:, :, 1:3, 1:3]
        np.testing.assert_array_equal(images[name], expected)


def test_data_without_labels_have_empty_ones(tmp_path: Path) -> None:
    raw = RawImages({"train": split(8, labelled=False), "test": split(5)})
    _, labels, *_ = prepared(raw, data("train[2:4]"), tmp_path)
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
def test_a_slice_that_the_data_do_not_have_is_refused_at_once(
    options: Data, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        prepared(RAW, options, tmp_path)


def test_the_card_says_what_the_arrays_are_and_were_made_from() -> None:
    options = data("train[2:7]", "test[0:5]")
    arrays = Arrays(
        {
            "train": np.asarray(RAW.splits["train"].images)[2:7],
            "test": np.asfortranarray(RAW.splits["test"].images),
        }
    )
    card = describe(arrays, FACTS, options)
    assert card["shape"] == [1, 4, 4]
    assert card["transforms"] == []
    assert card["source"] == {"a.gz": "a" * 64}
    for name, count, part in (("train", 5, "train[2:7]"), ("test", 5, "test[0:5]")):
        expected = hashlib.sha256(arrays[name].tobytes(order="C")).hexdigest()
        assert card["splits"][name] == {"images": count, "from": part, "sha256": expected}


def test_the_card_names_every_transform_as_it_was_written() -> None:
    arrays = Arrays({name: np.zeros((1, 1, 2, 2), np.uint8) for name in ("train", "test")})
    options = data("train[0:1]", "test[0:1]", "center_crop 3x3", "resize 2x2", "grayscale")
    card = describe(arrays, FACTS, options)
    assert card["transforms"] == ["center_crop 3x3", "resize 2x2", "grayscale"]


def test_another_pixel_gives_another_hash() -> None:
    images = {name: np.zeros((2, 1, 4, 4), np.uint8) for name in ("train", "test")}
    before = describe(Arrays(images), FACTS, data())["splits"]
    images["test"][1, 0, 3, 3] = 1
    after = describe(Arrays(images), FACTS, data())["splits"]
    assert before["train"] == after["train"]
    assert before["test"]["sha256"] != after["test"]["sha256"]


def test_the_stage_turns_raw_images_into_files_and_a_card_without_labels(tmp_path: Path) -> None:
    options = data("train[0:6]", "test[1:5]")
    made, workspace = tmp_path / "made", tmp_path / "workspace"
    workspace.mkdir()
    catalog = DataCatalog(
        {
            "raw": MemoryDataset(lambda _: RAW, copy_mode="assign"),
            "workspace": MemoryDataset(workspace),
            "images": ArraysDataset(str(made), "images"),
            "labels": ArraysDataset(str(made), "labels"),
            "params:source": MemoryDataset(SOURCE),
            "params:data": MemoryDataset(options),
        }
    )
    stage = create_pipeline().only_nodes("preprocess", "describe")
    card = SequentialRunner().run(stage, catalog)["card"].load()

    images, labels = catalog.load("images"), catalog.load("labels")
    np.testing.assert_array_equal(images["train"], np.asarray(RAW.splits["train"].images)[:6])
    np.testing.assert_array_equal(labels["test"], np.asarray(RAW.splits["test"].labels)[1:])
    assert {path.name for path in made.iterdir()} == {
        f"{name}_{kind}.npy" for name in ("train", "test") for kind in ("images", "labels")
    }
    assert "label" not in json.dumps(card)
    assert card["source"] == {"a.gz": "a" * 64}
    for name in ("train", "test"):
        expected = hashlib.sha256(np.load(made / f"{name}_images.npy").tobytes()).hexdigest()
        assert card["splits"][name]["sha256"] == expected


def test_the_card_of_plain_data_says_nothing_of_what_is_not_there() -> None:
    arrays = Arrays({name: np.zeros((1, 1, 2, 2), np.uint8) for name in ("train", "test")})
    card = describe(arrays, FACTS, data())
    assert set(card) == {"shape", "transforms", "splits", "source"}


def test_percentages_are_of_the_images_there_are_and_the_card_has_numbers(tmp_path: Path) -> None:
    images, _, _, _, facts = prepared(RAW, data("train[0:50%]", "train[50%:8]"), tmp_path)
    whole = np.asarray(RAW.splits["train"].images)
    np.testing.assert_array_equal(images["train"], whole[:4])
    np.testing.assert_array_equal(images["test"], whole[4:])
    assert facts["from"] == {"train": "train[0:4]", "test": "train[4:8]"}


def test_several_splits_count_as_one(tmp_path: Path) -> None:
    images, labels, *_ = prepared(RAW, data("train+test[6:11]", "test[3:4]"), tmp_path)
    first, second = RAW.splits["train"], RAW.splits["test"]
    assert first.labels is not None
    assert second.labels is not None
    expected = np.concatenate([np.asarray(first.images)[6:], np.asarray(second.images)[:3]])
    np.testing.assert_array_equal(images["train"], expected)
    np.testing.assert_array_equal(
        labels["train"], np.concatenate([first.labels[6:], second.labels[:3]])
    )


@pytest.mark.parametrize(("train", "count"), [("train[0:1]", 1), ("train[0:10%]", 0)])
def test_fewer_than_two_images_to_train_on_are_refused(
    tmp_path: Path, train: str, count: int
) -> None:
    told = rf"which is {count}: at least 2 are needed"
    with pytest.raises(UserError, match=told):
        prepared(RAW, data(train), tmp_path)


PARTIAL = {"complete": {"train": 10, "test": 5}}


def part_of(allow: bool, **complete: int) -> Source:
    block = {**SOURCE.model_dump(), "complete": complete, "allow_partial": allow}
    return Source.model_validate(block)


def test_a_part_of_a_data_set_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    told = "not the whole data set: train 8 of 10, test 5 of 5, extra 0 of 7"
    with pytest.raises(UserError, match=told):
        prepared(RAW, data(), tmp_path, part_of(False, train=10, test=5, extra=7))


def test_a_part_that_is_allowed_says_how_large_it_is(tmp_path: Path) -> None:
    source = part_of(True, train=10, test=5, extra=7)
    images, _, _, _, facts = prepared(RAW, data(), tmp_path, source)
    assert describe(images, facts, data())["partial"] == {"images": 13, "of": 22}


@pytest.mark.parametrize("allow", [True, False])
def test_a_whole_data_set_is_never_called_a_part(tmp_path: Path, allow: bool) -> None:
    images, _, _, _, facts = prepared(RAW, data(), tmp_path, part_of(allow, train=8, test=5))
    assert "partial" not in describe(images, facts, data())


def test_the_card_tells_what_was_read_and_not_what_is_pinned(tmp_path: Path) -> None:
    raw = RawImages(RAW.splits, origin={"b.gz": "b"})
    images, *_, facts = prepared(raw, data(), tmp_path)
    assert describe(images, facts, data())["source"] == {"b.gz": "b"}


@pytest.mark.parametrize("change", [{"origin": {"a.gz": "b"}}, {"stamp": "later"}])
def test_what_was_made_of_files_written_again_since_is_not_taken_over(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    options = data("train[0:8]", "test[0:5]")
    prepared(RAW, options, tmp_path)
    fresh = {"train": RawSplit(255 - np.asarray(RAW.splits["train"].images), None)}
    again = RawImages({**RAW.splits, **fresh}, **({"origin": ORIGIN} | change))
    images, *_ = prepared(again, options, tmp_path)
    np.testing.assert_array_equal(images["train"], fresh["train"].images)


def test_more_images_than_the_data_set_has_are_refused_even_where_a_part_would_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="train 8 of 7"):
        prepared(RAW, data(), tmp_path, part_of(True, train=7, test=5))


class Spoilt(Sequence[np.ndarray]):
    """Images of which some cannot be used."""

    def __init__(self, images: np.ndarray, bad: set[int]) -> None:
        self.images, self.bad = images, bad

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        if number in self.bad:
            raise Rejected("is cut short")
        return np.asarray(self.images[number])


def spoilt(count: int, bad: set[int]) -> RawSplit:
    whole = split(count)
    factors = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    names = [f"{number}.png" for number in range(count)]
    images = np.asarray(whole.images)
    return RawSplit(Spoilt(images, bad), whole.labels, factors, names)


def test_labels_and_factors_stay_with_their_images_when_others_are_rejected(
    tmp_path: Path,
) -> None:
    whole = spoilt(8, {0, 3})
    factors = (Factor("x", "linear", of_object=True), Factor("y", "circular"))
    raw = RawImages({"train": whole, "test": split(5)}, factors)
    options = Data.model_validate({**data("train[0:6]").model_dump(), "max_rejected": 2})
    images, labels, known, table, facts = prepared(raw, options, tmp_path)
    kept = [1, 2, 4, 5]
    assert whole.labels is not None
    assert whole.factors is not None
    np.testing.assert_array_equal(images["train"], np.asarray(split(8).images)[kept])
    np.testing.assert_array_equal(labels["train"], whole.labels[kept])
    np.testing.assert_array_equal(known["train"], whole.factors[kept])
    assert known["test"].shape == (0, 0)
    assert table.splitlines() == [
        "split,image,reason",
        "train,0.png,is cut short",
        "train,3.png,is cut short",
    ]
    card = describe(images, facts, options)
    assert card["rejected"] == 2
    assert card["factors"] == [["x", "linear"], ["y", "circular"]]
    assert card["factors_of_object"] == ["x"]


def test_one_rejected_image_more_than_allowed_stops_the_run_and_says_which(
    tmp_path: Path,
) -> None:
    test = spoilt(5, {1})
    test = replace(test, names=[f"t{name}" for name in test.names or ()])
    raw = RawImages({"train": spoilt(8, {0, 3}), "test": test})
    options = Data.model_validate({**data().model_dump(), "max_rejected": 2})
    told = (
        r"3 images cannot be used, and data.max_rejected allows 2: 0.png is cut short; 3.png is "
        rf"cut short; t1.png is cut short. They are listed in {tmp_path}/rejected.csv"
    )
    with pytest.raises(UserError, match=told):
        prepared(raw, options, tmp_path)
    assert (tmp_path / "rejected.csv").read_text().splitlines() == [
        "split,image,reason",
        "train,0.png,is cut short",
        "train,3.png,is cut short",
        "test,t1.png,is cut short",
    ]


def test_allowing_more_rejected_images_goes_on_where_the_run_was_stopped(tmp_path: Path) -> None:
    raw = RawImages({"train": spoilt(8, {0, 3}), "test": split(5)})
    for limit in (0, 1):
        options = Data.model_validate({**data().model_dump(), "max_rejected": limit})
        with pytest.raises(UserError, match=f"2 images cannot be used, .* allows {limit}: 0.png"):
            prepared(raw, options, tmp_path)
    raw.splits["train"].images.bad.update(range(8))  # type: ignore[union-attr]
    options = Data.model_validate({**data().model_dump(), "max_rejected": 2})
    images, *_ = prepared(raw, options, tmp_path)
    assert len(images["train"]) == 6  # none was read again


@pytest.mark.parametrize(
    ("train", "test", "shared"),
    [
        ("train[0:8]", "train[7:8]", True),
        ("train[0:100%]", "train[50%:100%]", True),
        ("train[4:8]", "train[0:5]", True),
        ("train[0:4]", "train[4:8]", False),
        ("train[0:50%]", "train[50%:100%]", False),
        ("train+test[0:9]", "test[0:5]", True),
        ("train+test[0:8]", "test[0:5]", False),
        ("train[6:8]", "test+train[0:12]", True),
        ("train[6:8]", "test+train[0:11]", False),
        ("train[2:6]", "all[0:3]", True),  # by their names
        ("train[2:6]", "all[0:2]", False),
    ],
)
def test_images_to_judge_by_are_not_trained_on(
    tmp_path: Path, train: str, test: str, shared: bool
) -> None:
    named = {
        name: replace(each, names=[f"{name} {n}" for n in range(len(each.images))])
        for name, each in RAW.splits.items()
    }
    both = replace(split(8), names=named["train"].names)
    raw = replace(RAW, splits={**named, "all": both} if "all" in test else RAW.splits)
    if shared:
        with pytest.raises(UserError, match="they share images"):
            prepared(raw, data(train, test), tmp_path)
    else:
        prepared(raw, data(train, test), tmp_path)
