"""Linear models of face shape: a mean mesh and modes of variation.

Axes of every model here: x to the face's left, y up, z out of the face; centred, and scaled so
that the mean face is 2 high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infogan.errors import UserError

# The vertices and polygons of the face come first in the light model's files (table in its
# README); back of the head, neck, eyes, teeth and the like are left out, as in the Basel models.
_ICT_VERTICES, _ICT_POLYGONS = 9409, 9230
_FLAT = 1e-3  # the least depth of a face in relation to its height


@dataclass(frozen=True)
class ShapeModel:
    """Faces mean + sum_k a_k modes_k, with a ~ N(0, 1) in the population the model is of."""

    name: str
    mean: np.ndarray  # float32 (V, 3)
    modes: np.ndarray  # float32 (K, V, 3), one standard deviation each
    triangles: np.ndarray  # int64 (T, 3), counter-clockwise from outside

    def shape(self, coefficients: np.ndarray) -> np.ndarray:
        """Vertices of one face: (K,) -> float32 (V, 3)."""
        return self.mean + np.tensordot(coefficients.astype(np.float32), self.modes, axes=1)


_NAMES = {
    ".obj": "ICT Face Model Light",
    ".h5": "Basel Face Model",
    ".mat": "Basel Face Model 2009",
}


def read_model(path: Path, modes: Sequence[Path] = ()) -> ShapeModel:
    """A model from the file a person brings, by its suffix: ``.h5`` (Basel Face Model 2017 or
    2019), ``.mat`` (Basel Face Model 2009) or ``.obj`` (ICT Face Model Light, with its modes).
    """
    suffix = path.suffix.lower()
    if suffix not in _NAMES:
        raise UserError(
            f"{path} is no face model: .h5 (Basel Face Model 2017 or 2019) and .mat (2009) can be "
            "read."
        )
    name = _NAMES[suffix]
    if suffix == ".obj":
        return _read_ict(name, path, modes)
    return _read_basel_h5(name, path) if suffix == ".h5" else _read_basel_mat(name, path)


# --- ICT Face Model Light ------------------------------------------------------------------------


Line = tuple[int, str]  # of a file: its number, from 1, and its text


def _read_ict(name: str, mean_path: Path, mode_paths: Sequence[Path]) -> ShapeModel:
    if not mode_paths:
        raise UserError(f"{mean_path} has no identity modes beside it: identity000.obj and on.")
    mean, faces = _read_obj(mean_path)
    if len(mean) < _ICT_VERTICES or len(faces) < _ICT_POLYGONS:
        raise UserError(
            f"{mean_path} has {len(mean):,} vertices and {len(faces):,} faces, but the ICT Face "
            f"Model Light at least {_ICT_VERTICES:,} and {_ICT_POLYGONS:,}: it is another mesh, "
            "or damaged."
        )
    polygons = _polygons(mean_path, faces)
    modes = np.stack([_mode(path, len(mean), faces, polygons) for path in mode_paths]) - mean
    fans = [
        (polygon[0], polygon[i], polygon[i + 1])
        for polygon in polygons
        for i in range(1, len(polygon) - 1)
    ]
    return _normalised(
        mean_path, name, mean[:_ICT_VERTICES], modes[:, :_ICT_VERTICES], np.array(fans)
    )


def _mode(
    path: Path, vertices: int, faces: list[Line], polygons: list[tuple[int, ...]]
) -> np.ndarray:
    """The vertices of a mode, which is the same mesh in another shape: float32 (V, 3)."""
    found, own_faces = _read_obj(path)
    if len(found) != vertices:
        raise UserError(
            f"{path} has {len(found):,} vertices instead of {vertices:,}: it is another mesh than "
            "the mean, or damaged."
        )
    texts = [text for _, text in own_faces]
    if texts and texts != [text for _, text in faces] and _polygons(path, own_faces) != polygons:
        raise UserError(f"{path} has other faces than the mean: it is another mesh.")
    return found


def _read_obj(path: Path) -> tuple[np.ndarray, list[Line]]:
    """Of a Wavefront OBJ file the ``v x y z`` lines, float32 (V, 3), and the ``f`` lines."""
    try:
        lines = list(enumerate(path.read_text().splitlines(), 1))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the face model is not complete.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a Wavefront OBJ file, which is plain text.") from None
    corners = [_corner(path, *line) for line in lines if line[1].startswith("v ")]
    vertices = np.array(corners, np.float32).reshape(-1, 3)
    return vertices, [line for line in lines if line[1].startswith("f ")]


def _corner(path: Path, number: int, text: str) -> tuple[float, ...]:
    try:
        x, y, z = map(float, text.split()[1:4])
        if not abs(x) + abs(y) + abs(z) < np.inf:
            raise ValueError
    except ValueError:
        raise UserError(
            f"{path} has {text!r} in line {number:,}, but a vertex is 'v' and three numbers."
        ) from None
    return x, y, z


def _polygons(path: Path, faces: list[Line]) -> list[tuple[int, ...]]:
    """The corners of the face's polygons, counted from 0."""
    polygons = []
    for number, text in faces[:_ICT_POLYGONS]:
        try:
            polygon = tuple(int(word.partition("/")[0]) - 1 for word in text.split()[1:])
            if len(polygon) < 3 or min(polygon) < 0 or max(polygon) >= _ICT_VERTICES:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path} has {text!r} in line {number:,}, but a polygon of the face is 'f' and "
                f"three or more vertices from 1 to {_ICT_VERTICES:,}."
            ) from None
        polygons.append(polygon)
    return polygons


# --- Basel Face Models ---------------------------------------------------------------------------


def _read_basel_h5(name: str, path: Path) -> ShapeModel:
    """2017 and 2019: HDF5, shape = mean + basis sqrt(variance) a, in millimetres."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise UserError(
            "Reading a .h5 face model needs h5py: pip install 'infogan[faces]'."
        ) from None
    try:
        with h5py.File(path) as file:
            shape = file["shape/model"]
            mean, basis = shape["mean"][()], shape["pcaBasis"][()]
            variance = shape["pcaVariance"][()]
            cells = file["shape/representer/cells"][()]
    except OSError as error:
        raise UserError(f"{path} is not a readable HDF5 file: {error}.") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a Basel Face Model of 2017 or 2019: {str(error).strip(chr(34))}."
        ) from None
    return _basel(path, name, mean, basis, variance, cells.T)


def _read_basel_mat(name: str, path: Path) -> ShapeModel:
    """2009: MATLAB, shape = mean + basis deviation a, in micrometres, triangles counted from 1."""
    from scipy.io import loadmat

    try:
        file = loadmat(path)
    except Exception as error:  # scipy's readers fail in many ways
        raise UserError(f"{path} is not a readable MATLAB file: {error}.") from None
    try:
        mean, basis = file["shapeMU"], file["shapePC"]
        deviation, triangles = file["shapeEV"], file["tl"]
    except KeyError as error:
        raise UserError(
            f"{path} is not the Basel Face Model of 2009: it has no {error}, only "
            f"{', '.join(sorted(name for name in file if not name.startswith('__')))}."
        ) from None
    cells = np.asarray(triangles, np.int64) - 1
    if cells.ndim == 2 and cells.shape[1] == 3:
        cells = cells[:, [0, 2, 1]]  # its triangles are clockwise
    return _basel(path, name, mean, basis, deviation**2, cells)


def _basel(
    path: Path,
    name: str,
    mean: np.ndarray,
    basis: np.ndarray,
    variance: np.ndarray,
    triangles: np.ndarray,
) -> ShapeModel:
    mean, variance = np.ravel(mean), np.ravel(variance)
    fits = (
        len(mean) % 3 == 0
        and basis.ndim == 2
        and basis.shape == (len(mean), len(variance))
        and triangles.ndim == 2
        and triangles.shape[1] == 3
        and len(triangles) > 0
        and triangles.min() >= 0
        and triangles.max() < len(mean) // 3
    )
    if not fits or len(variance) == 0:
        raise UserError(
            f"{path} is damaged: mean {mean.shape}, basis {basis.shape}, {len(variance)} "
            f"variances and triangles {triangles.shape} do not fit together."
        )
    with np.errstate(invalid="ignore"):  # of negative variances, which are refused in the end
        modes = (basis * np.sqrt(variance)).T.reshape(len(variance), -1, 3)
    return _normalised(path, name, mean.reshape(-1, 3), modes, triangles)


def _normalised(
    path: Path, name: str, mean: np.ndarray, modes: np.ndarray, triangles: np.ndarray
) -> ShapeModel:
    if not (np.isfinite(mean).all() and np.isfinite(modes).all()):
        raise UserError(f"{path} is damaged: not all of its numbers are finite.")
    low, high = mean.min(axis=0), mean.max(axis=0)
    extent = high - low
    if extent.min() <= _FLAT * extent.max():
        raise UserError(
            f"{path} has a mean face of {' x '.join(f'{length:g}' for length in extent)}, but a "
            "face has width, height and depth."
        )
    scale = 2 / (high[1] - low[1])
    return ShapeModel(
        name,
        ((mean - (low + high) / 2) * scale).astype(np.float32),
        (modes * scale).astype(np.float32),
        np.ascontiguousarray(triangles, np.int64),
    )
