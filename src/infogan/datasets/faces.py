"""Faces rendered from a shape model, each with known factors.

By default the ICT Face Model Light; or a Basel Face Model, which every person must obtain under
its own licence (``source.path``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infogan.datasets.raw import RawDataset, brought, origin, raw_file
from infogan.datasets.values import Factor, RawImages, RawSplit
from infogan.errors import UserError
from infogan.options import FaceScene, Source

if TYPE_CHECKING:
    from infogan.morphable import ShapeModel
    from infogan.rendering import Renderer

FACTORS = ("azimuth", "elevation", "light", "width")  # of each image, beside its identity


class Faces(RawDataset):
    """One split, ``renders``: 1xSxS on white, as many as ``source.scene`` says."""

    def read(self, folder: Path, source: Source) -> RawImages:
        """Nothing is rendered before an image is asked for; its number decides how it looks."""
        from infogan.morphable import read_model

        scene = source.scene
        if not isinstance(scene, FaceScene):
            raise UserError("source.scene must be of kind 'faces' to render faces.")
        path = brought(folder, source)
        if path.is_dir():
            path = raw_file(path, "generic_neutral_mesh.obj")
        is_mesh = path.suffix.lower() == ".obj"
        modes = _modes(path.parent) if is_mesh else ()
        opened = origin(source, path, *modes)
        model = read_model(path, modes)
        drawn = np.stack(
            [_random(scene, number).random(len(FACTORS)) for number in range(scene.images)]
        )
        factors = _factors(scene, drawn).astype(np.float32)
        split = RawSplit(Renders(model, scene), None, factors, isolated=True)
        return RawImages(
            {"renders": split},
            tuple(Factor(name, "linear") for name in FACTORS),
            {"model": model.name} | opened,
        )


def _modes(folder: Path) -> tuple[Path, ...]:
    """The files of the modes in their order; UserError for a gap, beyond which every coefficient
    would be another mode's, so that the faces were others.
    """
    found = tuple(sorted(folder.glob("identity*.obj")))
    for number, path in enumerate(found):
        expected = f"identity{number:03}.obj"
        if path.name != expected:
            raise UserError(
                f"{folder} has {path.name} where {expected} should follow: the modes of a face "
                "model are numbered from 000 without a gap."
            )
    return found


@dataclass(frozen=True)
class Renders(Sequence[np.ndarray]):
    """Faces, rendered when asked for: each is a function of model, scene and its number alone."""

    model: "ShapeModel"  # read and checked once, and sent to the processes as it is
    scene: FaceScene

    def __len__(self) -> int:
        return self.scene.images

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        from infogan.rendering import rotation

        random = _random(self.scene, number)
        azimuth, elevation, light, width = _factors(self.scene, random.random(len(FACTORS)))
        identity = self.scene.identity * random.standard_normal(len(self.model.modes))
        vertices = self.model.shape(identity) * np.array([width, 1, 1])
        turned = vertices @ rotation(azimuth, elevation).T
        side = np.radians(light)
        return self._renderer.render(turned, (np.sin(side), 0.0, np.cos(side)))[None]

    @cached_property
    def _renderer(self) -> "Renderer":  # made in the process that renders, which it cannot leave
        from infogan.rendering import Renderer

        return Renderer(self.model.triangles, self.scene.side)


def _random(scene: FaceScene, number: int) -> np.random.Generator:
    """What one image is drawn from: first its factors, then its identity."""
    return np.random.default_rng([scene.seed, number])


def _factors(scene: FaceScene, drawn: np.ndarray) -> np.ndarray:
    """Factors (..., 4), uniform on their ranges, of numbers (..., 4) uniform on [0, 1)."""
    low, high = np.transpose([getattr(scene, name) for name in FACTORS])
    return np.asarray(low + (high - low) * drawn)
