"""Pictures are made in a process of their own: graphics and torch do not go together in one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infogan.rendering import rotation

SCRIPT = """
import sys
import numpy as np
from infogan.rendering import Renderer, rotation

# A ball: the same from every side, so that only the light tells where it comes from.
around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 41), np.linspace(-np.pi / 2, np.pi / 2, 21))
ball = np.stack([np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)], -1)
corner = np.arange(20 * 41).reshape(20, 41)[:, :-1].ravel()
quads = np.stack([corner, corner + 1, corner + 42, corner + 41], 1)
faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
balls = Renderer(faces, 64)
vertices = (0.8 * ball.reshape(-1, 3)).astype(np.float32)
lights = {"left": (-1, 0, 0), "right": (1, 0, 0), "top": (0, 1, 0), "front": (0, 0, 1)}
found = {name: balls.render(vertices, light) for name, light in lights.items()}
found["again"] = balls.render(vertices, lights["left"])

# A flag: one triangle to the right of a pole, in front of the axis.
flag = np.array([[0.2, 0.2, 0.5], [0.8, 0.2, 0.5], [0.2, 0.8, 0.5]], np.float32)
flags = Renderer(np.array([[0, 1, 2]]), 32)
for azimuth, elevation in ((0, 0), (-40, 0), (40, 0), (0, 40), (0, -40)):
    turned = flag @ rotation(azimuth, elevation).T
    name = f"flag_{azimuth}_{elevation}"
    found[name] = flags.render(turned.astype(np.float32), (0, 1, 0))

# A square that faces the viewer.
square = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], np.float32)
squares = Renderer(np.array([[0, 1, 2], [0, 2, 3]]), 32)
for name, light in (("lit", (0, 0, 1)), ("unlit", (0, 0, -1)), ("aslant", (3**0.5, 0, 1))):
    found[f"square_{name}"] = squares.render(square, light)
np.savez(sys.argv[1], **found)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("pictures") / "found.npz"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(np.load(path))


def test_the_background_is_white_and_the_mesh_is_in_the_middle(
    pictures: dict[str, np.ndarray],
) -> None:
    picture = pictures["front"]
    assert picture.shape == (64, 64)
    assert picture.dtype == np.uint8
    rows, columns = np.nonzero(picture < 255)
    assert picture[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [255] * 4
    # A ball of radius 0.8 in a picture that is 2.1 high, 64 pixels.
    assert (rows.min() + rows.max()) / 2 == pytest.approx(31.5, abs=0.6)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(31.5, abs=0.6)
    assert rows.max() - rows.min() + 1 == pytest.approx(64 * 1.6 / 2.1, abs=1.5)


def test_the_lit_side_is_the_bright_one(pictures: dict[str, np.ndarray]) -> None:
    inside = np.hypot(*np.meshgrid(np.arange(64) - 31.5, np.arange(64) - 31.5)) < 20
    horizontal, vertical = np.meshgrid(np.arange(64) - 31.5, 31.5 - np.arange(64))
    for name, axis in (("right", horizontal), ("left", -horizontal), ("top", vertical)):
        picture = pictures[name].astype(float)
        assert np.corrcoef(picture[inside], axis[inside])[0, 1] > 0.8, name


@pytest.mark.parametrize(("name", "share"), [("lit", 1.0), ("aslant", 0.5), ("unlit", 0.0)])
def test_a_surface_that_faces_the_light_is_white_and_one_that_does_not_ambient(
    pictures: dict[str, np.ndarray], name: str, share: float
) -> None:
    """Three quarters follow the cosine of the angle to the light."""
    inside = pictures[f"square_{name}"][12:20, 12:20]
    assert inside == pytest.approx(255 * (0.25 + 0.75 * share), abs=2)


def test_light_from_the_other_side_gives_the_mirrored_picture(
    pictures: dict[str, np.ndarray],
) -> None:
    difference = pictures["left"].astype(int) - pictures["right"][:, ::-1].astype(int)
    assert np.abs(difference).mean() < 2


def test_the_same_mesh_and_light_give_the_same_pixels(pictures: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(pictures["left"], pictures["again"])


def middle(picture: np.ndarray) -> tuple[float, float]:
    """Of the mesh, to the right and upwards."""
    rows, columns = np.nonzero(picture < 250)
    return float(columns.mean()), -float(rows.mean())


def test_what_is_in_front_moves_to_the_right_and_downwards(
    pictures: dict[str, np.ndarray],
) -> None:
    at = {name: middle(picture) for name, picture in pictures.items() if "flag" in name}
    assert at["flag_-40_0"][0] < at["flag_0_0"][0] < at["flag_40_0"][0]
    assert at["flag_0_40"][1] < at["flag_0_0"][1] < at["flag_0_-40"][1]


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (30, 0), (0, -20), (200, 45)])
def test_rotations_keep_lengths_and_hands(azimuth: float, elevation: float) -> None:
    matrix = rotation(azimuth, elevation)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_a_positive_azimuth_shows_the_right_cheek_and_a_positive_elevation_the_crown() -> None:
    # x points to the face's left, y up, z out of the face and to the viewer.
    right_cheek, crown, nose = np.array([[-1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert (rotation(30, 0) @ right_cheek)[2] > 0.4
    assert (rotation(30, 0) @ nose)[0] > 0.4
    assert (rotation(0, 30) @ crown)[2] > 0.4
    assert (rotation(0, 30) @ nose)[1] < -0.4


NO_LIBRARY = """
import ctypes
from infogan import rendering
rendering._loads = lambda library: False
try:
    rendering._vtk()
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux may be without graphics")
def test_a_machine_without_graphics_library_is_told_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_LIBRARY], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("UserError: Rendering without a screen needs a graphics library")


def test_without_vtk_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['vtkmodules'] = None\n"
        "from infogan import rendering\n"
        "try:\n    rendering._vtk()\nexcept Exception as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Rendering needs VTK: pip install 'infogan[faces]'.\n"
