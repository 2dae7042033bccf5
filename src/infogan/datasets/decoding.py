"""The bytes of one image file as an array, whatever its format, colours and orientation."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from infogan.errors import Rejected

if TYPE_CHECKING:
    from PIL.Image import Image

PIXEL_LIMIT = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # of Pillow's many, some run programs

_BEGINNINGS = (b"\x89PNG", b"\xff\xd8", b"RIFF", b"BM", b"GIF8", b"II", b"MM")
_DAMAGED = "is cut short or damaged"
_GREY = ("1", "L", "LA", "La")


class Decoded(Sequence[np.ndarray]):
    """The contents of image files as uint8 images (C, H, W), each decoded when asked for."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        self._contents = contents

    def __len__(self) -> int:
        return len(self._contents)

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        return decode(self._contents[number])


def decode(content: bytes) -> np.ndarray:
    """The image in a file's content as uint8 (C, H, W), upright, C is 1 (grey) or 3 (RGB).

    Colours of any kind become RGB, 16-bit grey is scaled to 8 bits, and what is transparent lies
    on white. ``Rejected`` is the only exception, but for a lack of memory. Pillow does this since
    it covers CMYK, EXIF and palettes in every format, whereas torchvision's ``decode_image``,
    deprecated, knows neither BMP nor TIFF and hands out CMYK, 16 bits, transparency and the
    indices of a palette as they are.
    """
    if not content:
        raise Rejected("is empty")
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Of large images, which are refused here, and of oddities that do no harm.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _refuse(image)
                pixels = _pixels(ImageOps.exif_transpose(image))
    except (Rejected, MemoryError):
        raise
    except UnidentifiedImageError:
        known = content.startswith(_BEGINNINGS)
        raise Rejected(_DAMAGED if known else f"is no image ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise Rejected(f"has more than {PIXEL_LIMIT:,} pixels") from None
    except Exception:  # Pillow lets through whatever its readers stumble over
        raise Rejected(_DAMAGED) from None
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _refuse(image: "Image") -> None:
    """Rejected if the header, all that has been read by now, announces what cannot be used."""
    width, height = image.size
    if width < 1 or height < 1:
        raise Rejected(f"is {height}x{width}, which has no pixels")
    if width * height > PIXEL_LIMIT:
        raise Rejected(f"is {height}x{width}, more than {PIXEL_LIMIT:,} pixels")
    # The further pictures of a camera's JPEG ("MPO") are previews, so its first one will do.
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    if frames > 1 and image.format == "TIFF":
        raise Rejected(f"has {frames} pages")
    if frames > 1:
        raise Rejected(f"is animated, with {frames} frames")


def _pixels(image: "Image") -> np.ndarray:
    """The pixels as uint8 (H, W, C)."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _eight_bits(np.asarray(image), image.info.get("transparency"))[..., None]
    if image.mode == "F":
        raise Rejected("has floating-point pixels, whose range is not known")
    mode = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    pixels = np.asarray(image.convert(mode))
    return pixels[..., None] if mode == "L" else pixels


def _eight_bits(levels: np.ndarray, transparent: int | None) -> np.ndarray:
    """Grey levels from 0 to 65535 as uint8 of the same shape; the transparent level is white."""
    if levels.min() < 0 or levels.max() > 0xFFFF:
        raise Rejected(f"has grey levels from {levels.min()} to {levels.max()}, beyond 16 bits")
    scaled = np.round(levels / 257).astype(np.uint8)  # 65535 / 257 = 255
    return scaled if transparent is None else np.where(levels == transparent, 255, scaled)
