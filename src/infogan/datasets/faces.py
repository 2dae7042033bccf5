"""Faces rendered from a shape model, each with known factors.

By default the ICT Face Model Light; or a Basel Face Model, which every person must obtain under
its own licence (``source.path``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        from infogan.morphable import model_name

        scene = source.scene
        if not isinstance(scene, FaceScene):
            raise UserError("source.scene must be of kind 'faces' to render faces.")
        path = brought(folder, source)
        if path.is_dir():
            path = raw_file(path, "generic_neutral_mesh.obj")
        is_mesh = path.suffix.lower() == ".obj"
        modes = tuple(sorted(path.parent.glob("identity*.obj"))) if is_mesh else ()
        drawn = np.stack([_draw(scene, number)[0] for number in range(scene.images)])
        split = RawSplit(
            Renders(path, modes, scene), None, drawn.astype(np.float32), isolated=True
        )
        return RawImages(
            {"renders": split},
            tuple(Factor(name, "linear") for name in FACTORS),
            {"model": model_name(path)} | origin(source, path, *modes),
        )


@dataclass(frozen=True)
class Renders(Sequence[np.ndarray]):
    """Faces, rendered when asked for: each is a function of the scene and its number alone."""

    path: Path
    modes: tuple[Path, ...]
    scene: FaceScene

    def __len__(self) -> int:
        return self.scene.images

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        from infogan.rendering import rotation

        factors, random = _draw(self.scene, number)
        azimuth, elevation, light, width = factors
        identity = self.scene.identity * random.standard_normal(len(self._model.modes))
        vertices = self._model.shape(identity) * np.array([width, 1, 1])
        turned = vertices @ rotation(azimuth, elevation).T
        side = np.radians(light)
        return self._renderer.render(turned, (np.sin(side), 0.0, np.cos(side)))[None]

    # Made once in each process, and not sent to others.
    @cached_property
    def _model(self) -> "ShapeModel":
        from infogan.morphable import read_model

        return read_model(self.path, self.modes)

    @cached_property
    def _renderer(self) -> "Renderer":
        from infogan.rendering import Renderer

        return Renderer(self._model.triangles, self.scene.side)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "modes": self.modes, "scene": self.scene}


def _draw(scene: FaceScene, number: int) -> tuple[np.ndarray, np.random.Generator]:
    """The factors of one image, uniform on their ranges, and what its identity is drawn from."""
    random = np.random.default_rng([scene.seed, number])
    low, high = np.transpose([getattr(scene, name) for name in FACTORS])
    return random.uniform(low, high), random
