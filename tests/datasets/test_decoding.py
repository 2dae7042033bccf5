import io
import pickle
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.datasets import decoding
from infogan.datasets.decoding import Decoded, decode
from infogan.errors import Rejected

LOSSLESS = ("PNG", "BMP", "TIFF")
ORIENTATION = 0x0112
UPRIGHT = {  # what a viewer does with an image of this EXIF orientation (H, W)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: np.rot90,
}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def smooth() -> Image.Image:
    """An image that lossy formats keep: a slope of red and green (H, W) = (12, 20)."""
    rows, columns = np.mgrid[:12, :20]
    return Image.fromarray(
        np.stack([rows * 15, columns * 10, 0 * rows + 90], -1).astype(np.uint8), "RGB"
    )


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def announcing(width: int, height: int) -> bytes:
    """A PNG of almost no bytes that announces any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_what_a_lossless_format_holds_comes_out_channels_first(
    kind: str, shape: tuple[int, ...]
) -> None:
    pixels = noise(*shape)
    found = decode(encoded(Image.fromarray(pixels), kind))
    expected = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_what_a_lossy_format_holds_comes_out_nearly(kind: str) -> None:
    found = decode(encoded(smooth(), kind, quality=95))
    assert found.shape == (3, 12, 20)
    np.testing.assert_allclose(found, np.moveaxis(np.asarray(smooth()), -1, 0), atol=12)


def test_a_grey_jpeg_has_one_channel() -> None:
    assert decode(encoded(smooth().convert("L"), "JPEG")).shape == (1, 12, 20)


def test_cmyk_is_turned_into_rgb() -> None:
    ink = Image.new("CMYK", (6, 4), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        found = decode(encoded(ink, kind))
        assert found.shape == (3, 4, 6)
        np.testing.assert_allclose(found[:, 0, 0], [255, 0, 0], atol=6)


def test_lab_and_ycbcr_are_turned_into_rgb() -> None:
    # Pure red is L* = 53, a* = 80, b* = 67; Pillow has L* times 2.55, and the others plus 128.
    lab = Image.merge("LAB", [Image.new("L", (6, 4), level) for level in (136, 208, 195)])
    np.testing.assert_allclose(decode(encoded(lab, "TIFF"))[:, 0, 0], [255, 0, 0], atol=12)
    red = Image.new("RGB", (6, 4), (255, 0, 0)).convert("YCbCr")
    np.testing.assert_allclose(decode(encoded(red, "TIFF"))[:, 0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_becomes_the_colours_it_stands_for(kind: str) -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    found = decode(encoded(image, kind))
    np.testing.assert_array_equal(found, np.full((3, 2, 3), [[[10]], [[200]], [[30]]], np.uint8))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_one_bit_becomes_black_and_white(kind: str) -> None:
    bits = noise(5, 9) > 127
    found = decode(encoded(Image.fromarray(bits), kind))
    np.testing.assert_array_equal(found, np.where(bits, 255, 0).astype(np.uint8)[None])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(kind: str) -> None:
    levels = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], np.uint16)
    found = decode(encoded(Image.fromarray(levels), kind))
    np.testing.assert_array_equal(found, np.array([[[0, 0, 1, 1, 128, 254, 255]]], np.uint8))


def test_sixteen_bits_in_a_32_bit_file_are_scaled_and_more_are_rejected() -> None:
    levels = np.array([[0, 257, 65535]], np.int32)
    found = decode(encoded(Image.fromarray(levels), "TIFF"))
    np.testing.assert_array_equal(found, [[[0, 1, 255]]])
    with pytest.raises(Rejected, match="has grey levels from 0 to 131070, beyond 16 bits"):
        decode(encoded(Image.fromarray(levels * 2), "TIFF"))
    with pytest.raises(Rejected, match="has grey levels from -257 to 0"):
        decode(encoded(Image.fromarray(np.array([[0, -257]], np.int32)), "TIFF"))


def test_floating_point_pixels_are_rejected() -> None:
    with pytest.raises(Rejected, match="has floating-point pixels"):
        decode(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_lies_on_white(kind: str) -> None:
    image = Image.new("RGBA", (3, 1))
    for column, alpha in enumerate((0, 51, 255)):
        image.putpixel((column, 0), (200, 0, 100, alpha))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = decode(encoded(image, kind, **options))
    expected = [[255, 244, 200], [255, 204, 0], [255, 224, 100]]
    np.testing.assert_allclose(found[:, 0], expected, atol=1)


def test_grey_with_alpha_stays_grey_and_lies_on_white() -> None:
    image = Image.merge("LA", [Image.new("L", (2, 2), 100), Image.new("L", (2, 2), 51)])
    np.testing.assert_allclose(decode(encoded(image)), np.full((1, 2, 2), 224), atol=1)


@pytest.mark.parametrize(
    ("pixels", "key", "channels"),
    [
        (np.array([[7, 9]], np.uint8), 7, 1),
        (np.array([[7 * 257, 9 * 257]], np.uint16), 7 * 257, 1),
        (np.array([[[7, 7, 7], [9, 9, 9]]], np.uint8), (7, 7, 7), 3),
    ],
    ids=["grey", "16-bit grey", "rgb"],
)
def test_a_colour_that_is_declared_transparent_is_white(
    pixels: np.ndarray, key: Any, channels: int
) -> None:
    found = decode(encoded(Image.fromarray(pixels), transparency=key))
    np.testing.assert_array_equal(found, np.full((channels, 1, 2), [255, 9]))


def test_a_transparent_entry_of_a_palette_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        found = decode(encoded(image, kind, transparency=0))
        np.testing.assert_array_equal(found[:, 0], [[255, 40], [255, 50], [255, 60]])


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_images_are_turned_upright_once(kind: str, orientation: int) -> None:
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :16], pixels[8:, :16] = 255, 128  # no two of its eight orientations are alike
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    found = decode(encoded(Image.fromarray(pixels).convert("RGB"), kind, exif=exif))
    assert found.shape[1:] == ((32, 16) if orientation > 4 else (16, 32))
    np.testing.assert_allclose(found[0].astype(int), UPRIGHT[orientation](pixels), atol=10)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_rejected_with_its_length(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (20 * n, 0, 0)) for n in range(12)]
    with pytest.raises(Rejected, match=r"^is animated, with 12 frames$"):
        decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_several_pages_are_rejected_with_their_number() -> None:
    pages = [Image.new("L", (8, 8), n) for n in range(3)]
    with pytest.raises(Rejected, match=r"^has 3 pages$"):
        decode(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))


def test_a_cameras_previews_do_not_make_an_animation() -> None:
    pictures = [Image.new("RGB", (8, 8), (200 * n, 0, 0)) for n in range(2)]
    content = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    np.testing.assert_array_equal(decode(content), np.zeros((3, 8, 8), np.uint8))


def test_nothing_is_rejected_as_empty() -> None:
    with pytest.raises(Rejected, match=r"^is empty$"):
        decode(b"")


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"<html>quota exceeded</html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        encoded(Image.new("L", (4, 4)), "PPM"),
    ],
    ids=["a byte", "a page", "a program", "another format"],
)
def test_what_is_no_image_of_a_known_format_is_rejected(content: bytes) -> None:
    with pytest.raises(Rejected, match=r"^is no image \(PNG, JPEG, .*\)$"):
        decode(content)


@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (8001, 8000, "is 8000x8001, more than 64,000,000 pixels"),
        (12_000, 10_000, "is 10000x12000, more than"),  # of this size Pillow warns
        (100_000, 100_000, "has more than 64,000,000 pixels"),  # and this it refuses itself
        ((1 << 31) - 1, (1 << 31) - 1, "has more than"),
    ],
)
def test_an_image_of_too_many_pixels_is_rejected_before_they_are_decoded(
    width: int, height: int, told: str
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(Rejected, match=told):
            decode(announcing(width, height))
    assert seen == []


def test_as_many_pixels_as_allowed_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 35)
    assert decode(encoded(Image.new("L", (7, 5)))).shape == (1, 5, 7)
    with pytest.raises(Rejected, match="is 6x6, more than 35 pixels"):
        decode(encoded(Image.new("L", (6, 6))))


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0)])
def test_an_image_without_pixels_is_rejected(width: int, height: int) -> None:
    with pytest.raises(Rejected):
        decode(announcing(width, height))


FILES = {
    "png": encoded(Image.fromarray(noise(9, 11, 3))),
    "png palette": encoded(smooth().convert("P")),
    "png 16 bits": encoded(Image.fromarray(np.arange(30, dtype=np.uint16).reshape(5, 6))),
    "jpeg": encoded(smooth(), "JPEG"),
    "jpeg progressive": encoded(smooth(), "JPEG", progressive=True),
    "jpeg exif": encoded(
        smooth(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"
    ),
    "webp": encoded(smooth(), "WEBP"),
    "bmp": encoded(Image.fromarray(noise(5, 7, 3)), "BMP"),
    "gif": encoded(smooth(), "GIF"),
    "tiff": encoded(smooth(), "TIFF"),
    "tiff lzw": encoded(smooth(), "TIFF", compression="tiff_lzw"),
    "tiff jpeg": encoded(smooth(), "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_in_its_middle_is_rejected_as_such(name: str) -> None:
    content = FILES[name]
    assert decode(content).dtype == np.uint8
    with pytest.raises(Rejected, match=r"^is cut short or damaged$"):
        decode(content[: len(content) * 2 // 3])


def is_image_or_rejected(content: bytes) -> bool:
    """Whether it is an image; any other exception, and any warning, fails the test."""
    try:
        found = decode(content)
    except Rejected:
        return False
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert len(found) in (1, 3)
    assert found.size
    return True


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_an_image_or_rejected(name: str) -> None:
    content = FILES[name]
    usable = [is_image_or_rejected(content[:end]) for end in range(0, len(content), 3)]
    assert usable.count(False) > len(usable) / 2


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_wrong_bytes_is_an_image_or_rejected(name: str) -> None:
    content, random = FILES[name], np.random.default_rng(0)
    usable = []
    for _ in range(300):
        damaged = bytearray(content)
        # Half of the places near the beginning, where sizes and offsets are.
        ends = len(content), min(64, len(content))
        for end in ends[: random.integers(1, 3)]:
            damaged[random.integers(end)] = random.integers(256)
        usable.append(is_image_or_rejected(bytes(damaged)))
    assert False in usable


def test_decoded_files_are_a_picklable_sequence_of_images() -> None:
    contents = [FILES["png"], FILES["bmp"], b""]
    images = pickle.loads(pickle.dumps(Decoded(contents)))
    assert len(images) == 3
    np.testing.assert_array_equal(images[1], decode(FILES["bmp"]))
    with pytest.raises(Rejected, match="is empty"):
        images[2]


def test_a_lack_of_memory_is_not_the_images_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decode(b"any")
