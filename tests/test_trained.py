"""A trained model in use: what it makes, what it reads, what it refuses."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infogan.datasets import WeightsDataset
from infogan.datasets.values import Weights
from infogan.errors import Rejected, UserError
from infogan.networks import build, to_arrays, to_pixels
from infogan.options import Model, parse_transform
from infogan.preprocessing import compose
from infogan.trained import Trained

MATCHED = {"code": "c1", "class_of_category": [5, -1, 2]}
SHAPE = (1, 8, 8)


def weights(model: Model, shape: tuple[int, ...] = SHAPE) -> Weights:
    card = {"model": model.model_dump(mode="json"), "image_shape": list(shape)}
    return Weights(to_arrays(build(model, shape, 0)), card)


@pytest.fixture
def trained(model: Model) -> Trained:
    saved = weights(model)
    return Trained(saved.card, saved.arrays, MATCHED)


def images(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)


# --- Codes to images -----------------------------------------------------------------------------


def test_images_are_uint8_row_by_row(trained: Trained) -> None:
    made = trained.generate([{"c1": 0}, {"c1": 1}], 3, 0)
    assert made.shape == (6, 1, 8, 8)
    assert made.dtype == np.uint8


def test_the_same_seed_gives_the_same_images_and_another_seed_others(trained: Trained) -> None:
    made = trained.generate([{}], 3, 0)
    assert np.array_equal(made, trained.generate([{}], 3, 0))
    assert not np.array_equal(made, trained.generate([{}], 3, 1))


def test_the_first_images_stay_the_same_if_more_are_asked_for(trained: Trained) -> None:
    assert np.array_equal(trained.generate([{}], 9, 0)[:2], trained.generate([{}], 2, 0))


def test_rows_share_their_draws_and_differ_in_what_they_say_only(trained: Trained) -> None:
    together = trained.generate([{"c2": -1.0}, {"c2": 1.0}, {}], 2, 0)
    for place, row in enumerate([{"c2": -1.0}, {"c2": 1.0}, {}]):
        assert np.array_equal(together[2 * place : 2 * place + 2], trained.generate([row], 2, 0))
    assert not np.array_equal(together[:2], together[2:4])


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [({"c1": 2}, slice(4, 7), [0, 0, 1]), ({"c2": 1.5}, 7, 1.5), ({"c3_1": 3}, 9, 3.0)],
)
def test_a_code_is_written_where_the_generator_reads_it(
    trained: Trained, row: dict[str, float], column: Any, value: Any
) -> None:
    seen = []
    generator = trained._networks.generator
    generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    trained.generate([row], 1, 0)
    trained.generate([{}], 1, 0)
    assert torch.equal(seen[0][0, column], torch.tensor(value, dtype=torch.float32))
    seen[1][0, column] = seen[0][0, column]
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("word", ["class", "digit"])
def test_a_class_is_the_category_that_was_matched_to_it(trained: Trained, word: str) -> None:
    assert np.array_equal(trained.generate([{word: 2}], 1, 0), trained.generate([{"c1": 2}], 1, 0))


@pytest.fixture
def named(model: Model) -> Trained:
    """Of classes whose names are no numbers, or other numbers than theirs."""
    saved = weights(model)
    names = {"class_names": ["1", "2", "007", "10", "ant", "bee"]}
    return Trained(saved.card, saved.arrays, {**MATCHED, **names})


@pytest.mark.parametrize(("value", "category"), [("bee", 0), ("007", 2)])
def test_a_class_is_set_and_read_by_its_name(named: Trained, value: str, category: int) -> None:
    made = named.generate([{"class": value}], 1, 0)
    assert np.array_equal(made, named.generate([{"c1": category}], 1, 0))
    assert named._classes_of(np.array([category])).tolist() == [value]


@pytest.mark.parametrize("value", [10, 10.0, "10"])
def test_a_name_that_is_a_number_is_no_place_among_the_classes(
    model: Model, value: float | str
) -> None:
    saved = weights(model)
    matched = {"code": "c1", "class_of_category": [2, 0, 1], "class_names": ["1", "2", "10"]}
    trained = Trained(saved.card, saved.arrays, matched)
    made = trained.generate([{"digit": value}], 1, 0)
    assert np.array_equal(made, trained.generate([{"c1": 0}], 1, 0))
    with pytest.raises(UserError, match="digit is 0, but the classes are 1, 2, 10"):
        trained.generate([{"digit": 0}], 1, 0)


def test_a_wrong_class_is_told_with_the_names_there_are(named: Trained) -> None:
    assert "class or digit (007, bee)" in named.describe()
    for wrong in ("wasp", 5, "7"):
        with pytest.raises(UserError, match=f"class is {wrong}, but the classes are 007, bee"):
            named.generate([{"class": wrong}], 1, 0)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"c9": 1}, r"'c9' is not a code of this model: it has c1 \(0 to 2\), c2 \(trained"),
        ({"c1": 3}, "c1 is 3, but its categories are 0 to 2"),
        ({"c1": 0.5}, "c1 is 0.5, but its categories are 0 to 2"),
        ({"c1": "a"}, "c1 is 'a', but must be a number"),
        ({"c2": 10**400}, "must be a number"),
        ({"c2": float("inf")}, "c2 is inf, but must be a number"),
        ({"c2": 1e30}, "beyond all meaning: it was trained from -1 to 1"),
        ({"class": 1}, "class is 1, but the classes are 2, 5"),
        ({"c1": 0, "class": 5}, "c1 and class both set c1"),
        ({"c3": 1}, r"c3_0 \(trained from 0 to 4\)"),
    ],
)
def test_a_wrong_code_is_named_with_what_there_is(
    trained: Trained, row: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        trained.generate([row], 1, 0)


def test_without_a_match_there_are_no_classes(model: Model) -> None:
    saved = weights(model)
    with pytest.raises(UserError, match="'digit' is matched to no classes"):
        Trained(saved.card, saved.arrays).generate([{"digit": 1}], 1, 0)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (1, -1)])
def test_no_images_and_negative_seeds_are_refused(trained: Trained, count: int, seed: int) -> None:
    with pytest.raises(UserError, match=r"count is 0|seed is -1"):
        trained.generate([{}], count, seed)


def test_values_beyond_the_trained_range_are_allowed_with_a_word(trained: Trained) -> None:
    assert trained.concerns([{"c2": 1.0}, {"c1": 2}, {"c3_0": 4}]) == []
    (one,) = trained.concerns([{"c2": 1.5}])
    assert one.startswith("c2 is 1.5, but it was trained from -1 to 1")
    trained.generate([{"c2": 1.5}], 1, 0)


# --- Images to codes -----------------------------------------------------------------------------


def test_codes_are_what_q_says(trained: Trained) -> None:
    given = images(5)
    read = trained.encode(trained.as_pixels(given))
    pixels = to_pixels(torch.from_numpy(given), trained.model.pixel_range)
    with torch.no_grad():
        outputs = trained._networks.discriminator(pixels)[1].numpy()
    shares = np.exp(outputs[:, :3]) / np.exp(outputs[:, :3]).sum(axis=1, keepdims=True)
    for k in range(3):
        np.testing.assert_allclose(read[f"c1_p{k}"], shares[:, k], rtol=1e-5)
    assert read["c1"].tolist() == shares.argmax(axis=1).tolist()
    np.testing.assert_allclose(read["c2"], outputs[:, 3], rtol=1e-5)
    np.testing.assert_allclose(read["c2_sd"], np.exp(outputs[:, 4].clip(-5, 2)), rtol=1e-5)
    assert {"c3_0", "c3_0_sd", "c3_1", "c3_1_sd"} <= read.keys()


@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_q_sees_pixels_in_the_models_range(
    make_model: Callable[..., Model],
    model_block: dict[str, Any],
    pixel_range: tuple[float, float],
) -> None:
    last = "sigmoid" if pixel_range[0] == 0 else "tanh"
    generator = [*model_block["generator"][:-1], f"upconv 1 s2 {last}"]
    saved = weights(make_model(generator=generator, pixel_range=list(pixel_range)))
    trained = Trained(saved.card, saved.arrays)
    given = images(5)
    read = trained.encode(trained.as_pixels(given))
    with torch.no_grad():
        outputs = trained._networks.discriminator(to_pixels(torch.from_numpy(given), pixel_range))
    np.testing.assert_allclose(read["c2"], outputs[1][:, 3], rtol=1e-4, atol=1e-6)


def test_the_class_is_that_of_the_category_or_none(trained: Trained) -> None:
    categories = np.array([0, 1, 2])
    assert trained._classes_of(categories).tolist() == [5, None, 2]


def test_an_image_reads_the_same_alone_and_among_others(trained: Trained) -> None:
    pixels = trained.as_pixels(images(300))
    together = trained.encode(pixels)
    alone = trained.encode(pixels[270:271])
    for name in ("c1_p0", "c2", "c3_1_sd"):
        np.testing.assert_allclose(together[name][270], alone[name][0], rtol=1e-4, atol=1e-6)


def test_all_ways_to_hold_an_image_are_one(trained: Trained) -> None:
    given = images(4)
    expected = trained.as_pixels(given)
    assert expected.dtype == np.float32
    assert expected.max() <= 1
    for other in (
        given[:, 0],
        given.transpose(0, 2, 3, 1),
        given.astype(np.int64),
        given.tolist(),
        given / 255,
        (given / 255).astype(np.float32),
    ):
        np.testing.assert_allclose(trained.as_pixels(other), expected, atol=1e-6)


def test_black_and_white_without_decimals_is_black_and_white(trained: Trained) -> None:
    assert trained.as_pixels(np.ones((1, 8, 8), np.int64)).max() == 1
    assert trained.as_pixels(np.ones((1, 8, 8), bool)).max() == 1
    assert trained.as_pixels(np.ones((1, 8, 8), np.uint8)).max() == np.float32(1 / 255)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((2, 3, 3)), r"are \(2, 3, 3\), but this model reads \(N, 1, 8, 8\) or"),
        (np.zeros((8, 8)), r"are \(8, 8\)"),
        (np.zeros((0, 1, 8, 8)), "no image among"),
        (np.full((1, 8, 8), np.nan), "NaN or infinite"),
        (np.full((1, 8, 8), 1.5), r"from 1.5 to 1.5, but must be in \[0, 1\]"),
        (np.full((1, 8, 8), -1), "from -1 to -1"),
        (np.full((1, 8, 8), 256), "from 256 to 256"),
        ("text", "no images: an array of numbers"),
        ([["a"]], "no images"),
        ([[1, 2], [3]], "different lengths"),
        (7, "no image among"),
        (None, "no images"),
    ],
)
def test_what_is_no_image_is_refused(trained: Trained, given: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        trained.as_pixels(given)


# --- Files ---------------------------------------------------------------------------------------


def content(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_a_file_of_the_models_size_is_taken_as_it_is(trained: Trained) -> None:
    given = images(1)[0]
    read, changed = trained.read(content(given[0]))
    assert np.array_equal(read, given)
    assert changed is None


@pytest.mark.parametrize("shape", [(20, 30), (16, 16, 3), (3, 5)])
def test_other_sizes_and_colours_are_fitted_with_a_word(
    trained: Trained, shape: tuple[int, ...]
) -> None:
    read, changed = trained.read(content(np.full(shape, 77, np.uint8)))
    assert read.shape == SHAPE
    assert (read == 77).all()
    assert changed is not None
    assert "was made 1x8x8" in changed


def prepares(model: Model, *transforms: str) -> Trained:
    saved = weights(model)
    return Trained(saved.card, saved.arrays, {"transforms": transforms})


@pytest.mark.parametrize(
    "transforms",
    [
        ("center_crop 16x16", "resize 8x8"),
        ("grayscale", "center_crop 20x20", "resize 8x8"),
        ("grayscale", "square", "resize 8x8"),
    ],
    ids=["as celeba", "as chairs", "as a folder"],
)
def test_a_raw_image_is_prepared_as_those_of_the_training(
    model: Model, transforms: tuple[str, ...]
) -> None:
    colours = 3 if transforms[0] == "grayscale" else 1
    raw = np.random.default_rng(0).integers(0, 256, (20, 24, colours), np.uint8)
    read, changed = prepares(model, *transforms).read(content(raw.squeeze()))
    ingested = compose([parse_transform(line) for line in transforms])(raw.transpose(2, 0, 1))
    assert np.array_equal(read, ingested)
    assert changed is not None
    assert changed.endswith(f"and was prepared as for the training: {', '.join(transforms)}")


def test_an_image_of_the_models_shape_is_prepared_already(model: Model) -> None:
    given = images(1)[0]
    read, changed = prepares(model, "center_crop 4x4", "resize 8x8").read(content(given[0]))
    assert np.array_equal(read, given)
    assert changed is None


def test_what_the_training_did_not_do_is_done_as_without_it(
    trained: Trained, model: Model
) -> None:
    cuts = prepares(model, "center_crop 16x16", "resize 8x8")
    small = images(1, (12, 12))[0]
    read, changed = cuts.read(content(small))
    assert np.array_equal(read, trained.read(content(small))[0])
    assert changed == "is 12x12, too small for 'center_crop 16x16', and was made 1x8x8"
    colours = np.full((20, 20, 3), 77, np.uint8)  # of a data set that is grey as it comes
    colours[2:18, 2:18] = 9
    read, changed = cuts.read(content(colours))
    assert (read == 9).all()
    assert changed == "is 3x20x20 and was made 1x8x8, after center_crop 16x16, resize 8x8"


def test_grey_becomes_colour_for_a_model_of_colour(make_model: Callable[..., Model]) -> None:
    model = make_model(
        generator=["fc 2x2x8 bn relu", "upconv 6 s2 bn relu", "upconv 3 s2 sigmoid"]
    )
    saved = weights(model, (3, 8, 8))
    read, _ = Trained(saved.card, saved.arrays).read(content(np.full((8, 8), 9, np.uint8)))
    assert read.shape == (3, 8, 8)


@pytest.mark.parametrize("what", ["missing", "folder", "text", "device", "zero byte"])
def test_what_cannot_be_read_is_rejected(trained: Trained, tmp_path: Path, what: str) -> None:
    (tmp_path / "text").write_text("not an image")
    path = {"folder": tmp_path, "device": Path("/dev/zero"), "zero byte": Path("a\0b")}
    with pytest.raises(Rejected):
        trained.read_file(path.get(what, tmp_path / what))


def test_a_model_comes_from_its_file(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved = weights(model)
    WeightsDataset(str(path)).save(saved)
    one, other = Trained.load(path), Trained(saved.card, saved.arrays)
    assert np.array_equal(one.generate([{}], 2, 0), other.generate([{}], 2, 0))


@pytest.mark.parametrize("text", [None, b"", b"no model at all"])
def test_another_file_is_refused(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(UserError, match=r"is not there|is no model of this project"):
        Trained.load(path)
