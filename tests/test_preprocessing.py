import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from infogan import parallel, preprocessing
from infogan.datasets.decoding import Decoded
from infogan.errors import Rejected, UserError
from infogan.options import Shape, Slice, parse_transform
from infogan.preprocessing import Images, Joined, Prepared, TooManyRejected, prepare


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def done(
    raw: Images,
    part: Slice,
    shape: Shape,
    scratch: Path,
    lines: Sequence[str] = (),
    **changes: Any,
) -> Prepared:
    transforms = [parse_transform(line) for line in lines]
    arguments = {"names": None, "identity": "a", "max_rejected": 0, **changes}
    return prepare(
        raw, part=part, transforms=transforms, shape=shape, scratch=scratch, **arguments
    )


def prepared(raw: np.ndarray, lines: list[str], shape: Shape) -> np.ndarray:
    with TemporaryDirectory() as folder:
        part = Slice("train", 0, len(raw))
        return np.array(done(raw, part, shape, Path(folder) / "train", lines).images)


CUTS_AND_COLOURS = [
    ((3, 20, 30), ["center_crop 16x12"], (3, 16, 12)),
    ((3, 21, 31), ["center_crop 16x12"], (3, 16, 12)),
    ((3, 23, 33), ["center_crop 16x12"], (3, 16, 12)),
    ((3, 20, 31), ["square"], (3, 20, 20)),
    ((1, 33, 20), ["square", "center_crop 5x7"], (1, 5, 7)),
    ((1, 5, 5), ["rgb"], (3, 5, 5)),
    ((3, 5, 5), ["rgb"], (3, 5, 5)),
    ((1, 5, 5), ["grayscale"], (1, 5, 5)),
]
SIZES = [
    ((1, 31, 20), ["square", "resize 8x8"], (1, 8, 8)),
    ((3, 20, 30), ["resize 8x9"], (3, 8, 9)),
    ((3, 108, 108), ["resize 32x32"], (3, 32, 32)),
    ((1, 64, 64), ["resize 32x32"], (1, 32, 32)),
    ((1, 8, 8), ["resize 28x28"], (1, 28, 28)),
    ((3, 7, 9), ["resize 7x9"], (3, 7, 9)),
]


def by_torchvision(made: np.ndarray, lines: list[str]) -> np.ndarray:
    """What torchvision makes of the images in 64 bit, so without rounding."""
    expected = torch.from_numpy(made).double()
    for line in lines:
        kind, *size = line.replace("x", " ").split()
        numbers = [int(number) for number in size]
        if kind == "center_crop":
            expected = functional.center_crop(expected, numbers)
        elif kind == "square":
            expected = functional.center_crop(expected, [min(expected.shape[2:])] * 2)
        elif kind == "resize":
            expected = functional.resize(expected, numbers, antialias=True)
        elif kind == "rgb":
            expected = functional.grayscale_to_rgb(expected)
        else:
            expected = functional.rgb_to_grayscale(expected, num_output_channels=1)
    return np.asarray(expected.numpy())


@pytest.mark.parametrize(("raw", "lines", "shape"), CUTS_AND_COLOURS)
def test_images_are_cut_and_coloured_as_torchvision_does(
    raw: tuple[int, int, int], lines: list[str], shape: Shape
) -> None:
    made = images(4, *raw)
    found = prepared(made, lines, shape)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, by_torchvision(made, lines))


@pytest.mark.parametrize(("raw", "lines", "shape"), SIZES)
def test_images_are_resized_as_torchvision_does_but_for_rounding(
    raw: tuple[int, int, int], lines: list[str], shape: Shape
) -> None:
    made = images(4, *raw)
    found = prepared(made, lines, shape)
    assert found.dtype == np.uint8
    # Rounded twice, once in each direction.
    np.testing.assert_allclose(found, by_torchvision(made, lines), rtol=0, atol=1.01)


def test_transforms_are_applied_in_their_order() -> None:
    made = images(4, 3, 40, 30)
    lines = ["center_crop 24x24", "resize 8x8", "grayscale"]
    step = made
    for line, shape in zip(lines, [(3, 24, 24), (3, 8, 8), (1, 8, 8)], strict=True):
        step = prepared(step, [line], shape)
    np.testing.assert_array_equal(prepared(made, lines, (1, 8, 8)), step)


def test_no_detail_is_skipped_in_a_smaller_image() -> None:
    stripes = np.zeros((2, 1, 64, 64), np.uint8)
    stripes[0, :, ::8], stripes[1, :, :, ::8] = 255, 255
    found = prepared(stripes, ["resize 8x8"], (1, 8, 8)).astype(float)
    # Aliased, they would be black or white.
    np.testing.assert_allclose(found[..., 1:-1, 1:-1], 255 / 8, atol=1)


@pytest.mark.parametrize("size", ["8x8", "28x28"])
def test_an_even_image_keeps_its_level_in_any_size(size: str) -> None:
    levels = np.arange(256, dtype=np.uint8)
    shape = (1, *map(int, size.split("x")))
    found = prepared(levels.repeat(144).reshape(256, 1, 12, 12), [f"resize {size}"], shape)
    np.testing.assert_array_equal(found, np.broadcast_to(levels[:, None, None, None], found.shape))


def test_gray_is_the_luminance_of_a_colour() -> None:
    colours = images(1000, 3, 1, 1)
    found = prepared(colours, ["grayscale"], (1, 1, 1)).ravel()
    luminance = colours.reshape(1000, 3) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found, luminance, rtol=0, atol=0.51)


def test_gray_colours_keep_their_level_and_white_stays_white() -> None:
    levels = np.arange(256, dtype=np.uint8)
    colours = levels.repeat(3).reshape(256, 3, 1, 1)
    np.testing.assert_array_equal(prepared(colours, ["grayscale"], (1, 1, 1)).ravel(), levels)


def test_without_transforms_the_images_of_the_slice_are_untouched(tmp_path: Path) -> None:
    raw = images(6, 1, 4, 4)
    found = done(raw, Slice("train", 2, 5), (1, 4, 4), tmp_path / "train")
    np.testing.assert_array_equal(found.images, raw[2:5], strict=True)
    np.testing.assert_array_equal(found.kept, [2, 3, 4])
    assert found.rejected == ()


def test_raw_images_stay_as_they_are_even_where_they_cannot_be_written_to() -> None:
    raw = images(2, 3, 8, 8)
    before = raw.copy()
    raw.setflags(write=False)
    prepared(raw, ["center_crop 4x4", "grayscale"], (1, 4, 4))
    np.testing.assert_array_equal(raw, before)


class Counted(Sequence[np.ndarray]):
    """Images that know which of them were read, of which some are bad and one is deadly."""

    def __init__(self, raw: np.ndarray, bad: Sequence[int] = (), deadly: int = -1) -> None:
        self.raw, self.read, self.bad, self.deadly = raw, list[int](), bad, deadly

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        self.read.append(index)
        if index == self.deadly:
            raise KeyboardInterrupt
        if index in self.bad:
            raise Rejected(f"is bad ({index})")
        return np.asarray(self.raw[index])


def test_only_the_images_of_the_slice_are_read_and_each_once(tmp_path: Path) -> None:
    raw = Counted(images(9, 1, 4, 4))
    done(raw, Slice("train", 3, 6), (1, 4, 4), tmp_path / "train")
    assert raw.read == [3, 4, 5]


@pytest.mark.parametrize(
    ("lines", "shape", "told"),
    [
        ([], (1, 5, 5), "image 2 of extra is 1x4x6 after .*, but data.shape is 1x5x5"),
        (["resize 8x8"], (3, 8, 8), "image 2 of extra is 1x8x8 after .*, but .* is 3x8x8"),
        (["center_crop 2x3"], (1, 3, 2), "image 2 of extra is 1x2x3 after .*, but .* is 1x3x2"),
    ],
)
def test_an_image_of_another_shape_is_refused_with_its_index_and_both_shapes(
    lines: list[str], shape: Shape, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        done(images(5, 1, 4, 6), Slice("extra", 2, 4), shape, tmp_path / "x", lines)


@pytest.mark.parametrize(
    ("line", "size"), [("center_crop 4x5", "4x5"), ("center_crop 9x1", "9x1")]
)
def test_an_image_too_small_for_a_crop_is_rejected_and_not_framed_in_black(
    line: str, size: str, tmp_path: Path
) -> None:
    with pytest.raises(TooManyRejected) as stopped:
        done(images(2, 1, 4, 4), Slice("a", 0, 2), (1, 4, 4), tmp_path / "a", [line])
    assert stopped.value.rejected[0] == ("0", f"is 4x4, too small for 'center_crop {size}'")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "CHUNK", 4)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("deadly", [0, 3, 4, 9, 18])
def test_an_interrupted_preparation_goes_on_where_it_was_and_ends_with_the_same(
    tmp_path: Path, deadly: int
) -> None:
    raw, part = images(19, 1, 4, 4), Slice("train", 0, 19)
    whole = Counted(raw, bad=(2, 7, 17))
    settings: dict[str, Any] = {"max_rejected": 3}
    expected = done(whole, part, (1, 4, 4), tmp_path / "whole", **settings)

    scratch = tmp_path / "train"
    broken = Counted(raw, bad=(2, 7, 17), deadly=deadly)
    with pytest.raises(KeyboardInterrupt):
        done(broken, part, (1, 4, 4), scratch, **settings)
    again = Counted(raw, bad=(2, 7, 17))
    found = done(again, part, (1, 4, 4), scratch, **settings)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.kept, expected.kept)
    assert found.rejected == expected.rejected
    assert again.read == list(range(4 * (deadly // 4), 19))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("damage", ["identity", "rows", "progress"])
def test_what_another_preparation_left_or_what_is_damaged_is_not_taken_over(
    tmp_path: Path, damage: str
) -> None:
    raw, part, scratch = images(9, 1, 4, 4), Slice("train", 0, 9), tmp_path / "train"
    with pytest.raises(KeyboardInterrupt):
        done(Counted(255 - raw, deadly=8), part, (1, 4, 4), scratch)
    if damage == "rows":
        scratch.with_suffix(".part").write_bytes(b"short")
    if damage == "progress":
        scratch.with_suffix(".json").write_text("{")
    identity = "b" if damage == "identity" else "a"
    found = done(raw, part, (1, 4, 4), scratch, identity=identity)
    np.testing.assert_array_equal(found.images, raw)


def test_bad_images_are_told_by_name_with_their_reasons(tmp_path: Path) -> None:
    raw = Counted(images(4, 1, 4, 4), bad=(1, 3))
    names = ["a", "b", "c", "d"]
    found = done(raw, Slice("x", 0, 4), (1, 4, 4), tmp_path / "x", names=names, max_rejected=2)
    assert found.rejected == (("b", "is bad (1)"), ("d", "is bad (3)"))
    np.testing.assert_array_equal(found.kept, [0, 2])
    with pytest.raises(TooManyRejected) as stopped:
        done(raw, Slice("x", 0, 4), (1, 4, 4), tmp_path / "y", names=names, max_rejected=1)
    assert stopped.value.rejected == found.rejected


def test_images_none_of_which_can_be_used_are_refused(tmp_path: Path) -> None:
    raw = Counted(images(2, 1, 4, 4), bad=(0, 1))
    with pytest.raises(UserError, match=r"x\[0:2\] has no image that can be used"):
        done(raw, Slice("x", 0, 2), (1, 4, 4), tmp_path / "x", max_rejected=9)


def pictures(count: int) -> Decoded:
    """PNG files, decoded when asked for."""
    files = [io.BytesIO() for _ in range(count)]
    for file, image in zip(files, images(count, 4, 4), strict=True):
        Image.fromarray(image).save(file, "PNG")
    return Decoded([file.getvalue() for file in files])


def test_arrays_are_not_sent_to_processes_however_many_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "PARALLEL_FROM", 0)
    monkeypatch.setattr(preprocessing, "cores", lambda: 2)
    monkeypatch.delattr(preprocessing, "map_in_processes")
    raw = images(7, 1, 4, 4)
    joined = Joined([raw[:2], Joined([raw[2:3], raw[3:]])])
    for number, each in enumerate((raw, joined)):
        found = done(each, Slice("train", 0, 7), (1, 4, 4), tmp_path / str(number))
        np.testing.assert_array_equal(found.images, raw)


@pytest.mark.usefixtures("small_chunks")
def test_several_processes_give_what_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Joined([Joined([pictures(7)]), pictures(6)])
    part = Slice("train", 1, 12)
    one = done(raw, part, (1, 4, 4), tmp_path / "one")
    monkeypatch.setattr(preprocessing, "PARALLEL_FROM", 0)
    for module in (preprocessing, parallel):
        monkeypatch.setattr(module, "cores", lambda: 2)
    main = sys.modules["__main__"]
    before = (main.__spec__, getattr(main, "__file__", None))
    several = done(raw, part, (1, 4, 4), tmp_path / "several")
    np.testing.assert_array_equal(one.images, several.images)
    assert (main.__spec__, getattr(main, "__file__", None)) == before


def test_joined_runs_are_read_in_order() -> None:
    parts = [images(count, 1, 2, 2) for count in (3, 0, 1, 4)]
    joined = Joined(parts)
    assert len(joined) == 8
    np.testing.assert_array_equal([joined[n] for n in range(8)], np.concatenate(parts))


IN_PROCESSES = """
import io, sys
from pathlib import Path
import numpy as np
from PIL import Image
from infogan.datasets.decoding import Decoded
from infogan.options import Slice, parse_transform
from infogan.preprocessing import prepare

file = io.BytesIO()
Image.effect_noise((12, 9), 60).convert("RGB").save(file, "PNG")
pictures = Decoded([file.getvalue()] * 2)
lines = ["square", "center_crop 8x8", "resize 4x4", "grayscale", "rgb"]
transforms, scratch = [parse_transform(line) for line in lines], Path(sys.argv[1]) / "x"
part, shape = Slice("train", 0, 2), (3, 4, 4)
prepare(pictures, None, part, transforms, shape, scratch, "a", 0, isolated=True)
"""


def test_neither_transforms_nor_the_processes_that_apply_them_load_torch(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", IN_PROCESSES, str(tmp_path)],
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},  # each process lists its imports
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [
        line.rpartition("|")[2].strip()
        for line in ended.stderr.splitlines()
        if line.startswith("import time:")
    ]
    assert loaded.count("infogan.preprocessing") == 2  # by this process and one more
    heavy = {"torch", "torchvision", "scipy", "matplotlib", "pandas", "mlflow"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
