"""Procedural chairs: parametric chairs of boxes, where the archive of real ones is not at hand.

Axes: x to the chair's left, y up, z to the front; a chair is centred, in units of half a picture.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Ranges from which the parameters of a chair are drawn, uniformly; lengths in half-cubes. The
# largest chair just fits into the picture from every side.
_RANGES = {
    "width": (0.5, 1.1),  # of the seat
    "depth": (0.55, 0.9),
    "seat_height": (0.5, 0.8),  # above the floor
    "back_height": (0.45, 0.8),  # above the seat
    "thickness": (0.06, 0.16),  # of seat and back
    "leg": (0.05, 0.12),
    "lean": (0.0, 0.25),  # how far the back's upper edge stands behind its lower one
}
_BARS = 4  # as many kinds of back: of no bar, which is a board, to three
AZIMUTHS, ELEVATIONS = 31, (20, 30)  # degrees of elevation; azimuths evenly around the chair

_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
_SIDES = np.array(  # of the corners above, counter-clockwise from outside
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


@dataclass(frozen=True)
class Chair:
    """One chair: its parameters, whether it has arms, and the bars of its back (0: a board)."""

    width: float
    depth: float
    seat_height: float
    back_height: float
    thickness: float
    leg: float
    lean: float
    arms: bool
    bars: int

    def factors(self) -> dict[str, float]:
        """What is worth comparing with a continuous code."""
        return {"width": self.width, "height": self.seat_height + self.back_height}

    def told(self) -> dict[str, float]:
        """The factors, and as ``class`` the kind of back with or without arms: 0 to 7."""
        return {**self.factors(), "class": self.bars + (_BARS if self.arms else 0)}

    def triangles(self) -> np.ndarray:
        """Corners of all triangles, none shared so that edges stay sharp: float32 (T, 3, 3)."""
        straight = [_box(*box) for box in self._boxes()]
        back = [_leaning(_box(*box), self.seat_height, self.lean) for box in self._back()]
        corners = np.concatenate([*straight, *back])
        low = corners.min(axis=(0, 1))
        high = corners.max(axis=(0, 1))
        return np.asarray(corners - (low + high) / 2, np.float32)

    def _boxes(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Seat, legs and arms: lower and upper corner of each."""
        w, d, top = self.width / 2, self.depth / 2, self.seat_height
        under = top - self.thickness
        boxes = [_corners((-w, under, -d), (w, top, d))]
        for x in (-w, w - self.leg):
            for z in (-d, d - self.leg):
                boxes.append(_corners((x, 0, z), (x + self.leg, under, z + self.leg)))
        if self.arms:
            height = top + 0.35
            for x in (-w, w - self.leg):
                boxes.append(_corners((x, height - 0.06, -d), (x + self.leg, height, d)))
                boxes.append(_corners((x, top, d - self.leg), (x + self.leg, height - 0.06, d)))
        return boxes

    def _back(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The board, or a frame and its bars, before it leans."""
        w, d, top = self.width / 2, self.depth / 2, self.seat_height
        front, upper = -d + self.thickness, top + self.back_height
        if not self.bars:
            return [_corners((-w, top, -d), (w, upper, front))]
        edge = 0.18 * self.back_height
        places = np.linspace(-w, w - self.leg, self.bars + 2)
        rail = _corners((-w, upper - edge, -d), (w, upper, front))
        return [rail] + [
            _corners((x, top, -d), (x + self.leg, upper - edge, front)) for x in places
        ]


def draw_chair(seed: int, number: int) -> Chair:
    """Chair of this number: a function of seed and number alone."""
    random = np.random.default_rng([seed, number])
    sizes = {name: float(random.uniform(*limits)) for name, limits in _RANGES.items()}
    return Chair(**sizes, arms=bool(random.random() < 0.4), bars=int(random.integers(0, _BARS)))


LIGHT = (0.4, 0.7, 0.6)  # from above, the front and the left


def write_views(folder: Path, seed: int, number: int, side: int) -> None:
    """The 62 views of one chair, in the archive's layout: ``<hash>/renders/image_….png``.

    Beside them ``factors.json``. The chair's folder is there when it is whole. Not to be called in
    a process that uses torch.
    """
    from PIL import Image

    from infogan.rendering import Renderer, rotation

    name = hashlib.sha256(f"procedural chair {seed} {number}".encode()).hexdigest()[:32]
    if (folder / name).exists():
        return
    temporary = folder / f".{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "renders").mkdir(parents=True)
    chair = draw_chair(seed, number)
    corners = chair.triangles().reshape(-1, 3)
    renderer = Renderer(np.arange(len(corners)).reshape(-1, 3), side)
    views = [(e, a * 360 / AZIMUTHS) for e in ELEVATIONS for a in range(AZIMUTHS)]
    for place, (elevation, azimuth) in enumerate(views):
        turned = corners @ rotation(azimuth, elevation).T
        picture = Image.fromarray(renderer.render(turned.astype(np.float32), LIGHT))
        view = f"image_{place:03d}_p{elevation:03d}_t{int(azimuth):03d}_r096.png"
        picture.save(temporary / "renders" / view)
    (temporary / "factors.json").write_text(json.dumps(chair.told()))
    temporary.rename(folder / name)


def _corners(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(low, float), np.array(high, float)


def _box(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The twelve triangles of a box: (12, 3, 3)."""
    corners = low + _CORNERS * (high - low)
    quads = corners[_SIDES]  # (6, 4, 3)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _leaning(triangles: np.ndarray, from_height: float, lean: float) -> np.ndarray:
    """Sheared backwards above a height, by ``lean`` a unit of height."""
    moved = triangles.copy()
    moved[..., 2] -= lean * np.maximum(triangles[..., 1] - from_height, 0)
    return moved
