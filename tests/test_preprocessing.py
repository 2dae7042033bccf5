import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from infogan.errors import UserError
from infogan.options import Shape, Slice, parse_transform
from infogan.preprocessing import prepare


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def prepared(raw: np.ndarray, lines: list[str], shape: Shape) -> np.ndarray:
    part = Slice("train", 0, len(raw))
    return np.stack(list(prepare(raw, part, [parse_transform(line) for line in lines], shape)))


@pytest.mark.parametrize(
    ("raw", "lines", "shape"),
    [
        ((3, 20, 30), ["center_crop 16x12"], (3, 16, 12)),
        ((3, 21, 31), ["center_crop 16x12"], (3, 16, 12)),
        ((1, 10, 10), ["center_crop 14x12"], (1, 14, 12)),
        ((3, 20, 30), ["resize 8x9"], (3, 8, 9)),
        ((1, 8, 8), ["resize 28x28"], (1, 28, 28)),
        ((3, 20, 30), ["grayscale"], (1, 20, 30)),
        ((1, 5, 5), ["grayscale"], (1, 5, 5)),
        ((3, 40, 30), ["center_crop 24x24", "resize 8x8", "grayscale"], (1, 8, 8)),
        ((3, 40, 30), ["grayscale", "resize 10x7", "center_crop 6x6"], (1, 6, 6)),
    ],
)
def test_images_become_what_torchvision_makes_of_them(
    raw: tuple[int, int, int], lines: list[str], shape: Shape
) -> None:
    made = images(4, *raw)
    expected = torch.from_numpy(made.copy())
    for line in lines:
        kind, *size = line.replace("x", " ").split()
        numbers = [int(number) for number in size]
        if kind == "center_crop":
            expected = functional.center_crop(expected, numbers)
        elif kind == "resize":
            expected = functional.resize(expected, numbers, antialias=True)
        else:
            expected = functional.rgb_to_grayscale(expected, num_output_channels=1)
    found = prepared(made, lines, shape)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected.numpy())


def test_gray_is_the_luminance_of_a_colour() -> None:
    colours = np.zeros((3, 3, 1, 1), np.uint8)
    colours[[0, 1, 2], [0, 1, 2]] = 255
    found = prepared(colours, ["grayscale"], (1, 1, 1)).ravel()
    np.testing.assert_allclose(found, [0.299 * 255, 0.587 * 255, 0.114 * 255], atol=1)


def test_without_transforms_the_images_of_the_slice_are_untouched() -> None:
    raw = images(6, 1, 4, 4)
    found = np.stack(list(prepare(raw, Slice("train", 2, 5), [], (1, 4, 4))))
    np.testing.assert_array_equal(found, raw[2:5], strict=True)


def test_raw_images_stay_as_they_are_even_where_they_cannot_be_written_to() -> None:
    raw = images(2, 3, 8, 8)
    before = raw.copy()
    raw.setflags(write=False)
    prepared(raw, ["center_crop 4x4", "grayscale"], (1, 4, 4))
    np.testing.assert_array_equal(raw, before)


class Counted:
    """A run of images that knows which of them were read."""

    def __init__(self, raw: np.ndarray) -> None:
        self.raw, self.read = raw, list[int]()

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: int) -> np.ndarray:
        self.read.append(index)
        return self.raw[index]


def test_images_are_read_one_at_a_time_and_only_those_of_the_slice() -> None:
    raw = Counted(images(9, 1, 4, 4))
    stream = prepare(raw, Slice("train", 3, 6), [], (1, 4, 4))  # type: ignore[arg-type]
    assert raw.read == []
    next(stream)
    assert raw.read == [3]
    assert len(list(stream)) == 2
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
    lines: list[str], shape: Shape, told: str
) -> None:
    transforms = [parse_transform(line) for line in lines]
    stream = prepare(images(5, 1, 4, 6), Slice("extra", 2, 4), transforms, shape)
    with pytest.raises(UserError, match=told):
        next(stream)


def test_the_images_before_a_misshapen_one_are_given() -> None:
    raw = [*images(3, 1, 4, 4), *images(1, 1, 4, 5)]
    stream = prepare(raw, Slice("train", 0, 4), [], (1, 4, 4))
    for index in range(3):
        np.testing.assert_array_equal(next(stream), raw[index])
    with pytest.raises(UserError, match="image 3 of train is 1x4x5"):
        next(stream)


PLAIN = """
import sys
import numpy as np
from infogan.options import Slice
from infogan.preprocessing import prepare
list(prepare(np.zeros((2, 1, 4, 4), np.uint8), Slice("train", 0, 2), [], (1, 4, 4)))
print(sorted({"torch", "torchvision"} & set(sys.modules)))
"""


def test_data_that_need_no_transforms_do_not_wait_for_torch() -> None:
    command = [sys.executable, "-c", PLAIN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
