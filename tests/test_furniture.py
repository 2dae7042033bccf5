import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infogan.furniture import draw_chair

CHAIRS = [draw_chair(0, number) for number in range(200)]


def test_a_chair_is_a_function_of_seed_and_number() -> None:
    assert draw_chair(0, 7) == CHAIRS[7]
    assert draw_chair(1, 7) != CHAIRS[7]
    assert len(set(CHAIRS)) == 200


def test_every_kind_of_back_occurs_with_and_without_arms() -> None:
    assert {(chair.bars, chair.arms) for chair in CHAIRS} == {
        (bars, arms) for bars in range(4) for arms in (True, False)
    }


def test_a_class_is_a_kind_of_back_with_or_without_arms() -> None:
    kinds = {(chair.bars, chair.arms): chair.told()["class"] for chair in CHAIRS}
    assert sorted(kinds.values()) == list(range(8))
    for chair in CHAIRS:
        assert chair.told() == {**chair.factors(), "class": kinds[chair.bars, chair.arms]}


def test_chairs_fit_into_the_picture_from_every_side() -> None:
    for chair in CHAIRS:
        corners = chair.triangles().reshape(-1, 3)
        around = np.hypot(corners[:, 0], corners[:, 2]).max()
        tipped = np.cos(np.pi / 6) * np.abs(corners[:, 1]).max() + np.sin(np.pi / 6) * around
        assert max(around, tipped) < 1.05  # half a picture


def test_surfaces_look_outwards() -> None:
    """A closed surface has the volume inside, positive if its triangles are counter-clockwise."""
    for chair in CHAIRS[:20]:
        a, b, c = np.moveaxis(chair.triangles().astype(float), 1, 0)
        assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 > 0


def test_the_factors_are_what_is_seen() -> None:
    for chair in CHAIRS[:20]:
        corners = chair.triangles().reshape(-1, 3)
        width, height, _ = np.ptp(corners, axis=0)
        assert width == pytest.approx(chair.factors()["width"], rel=1e-5)
        assert height == pytest.approx(chair.factors()["height"], rel=1e-5)


def test_a_back_leans_backwards_by_its_lean_a_unit_of_height() -> None:
    for chair in CHAIRS[:20]:
        _, height, depth = chair.triangles().reshape(-1, 3).T
        top = depth[height > height.max() - 1e-5].min()
        feet = depth[height < height.min() + 1e-5].min()
        assert feet - top == pytest.approx(chair.lean * chair.back_height, abs=1e-5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chairs, in a process of its own: graphics and torch do not go together."""
    folder = tmp_path_factory.mktemp("rendered_chairs")
    code = (
        "import sys; from pathlib import Path; from infogan.furniture import write_views\n"
        "for number in (0, 1, 0): write_views(Path(sys.argv[1]), 5, number, 32)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)
    return folder


def test_views_are_kept_in_the_layout_of_the_archive(written: Path) -> None:
    chairs = sorted(written.iterdir())
    assert len(chairs) == 2
    for chair in chairs:
        assert len(chair.name) == 32
        names = sorted(path.name for path in (chair / "renders").iterdir())
        assert len(names) == 62
        assert names[0] == "image_000_p020_t000_r096.png"
        assert names[1] == "image_001_p020_t011_r096.png"
        assert names[61] == "image_061_p030_t348_r096.png"
        told = json.loads((chair / "factors.json").read_text())
        assert set(told) == {"width", "height", "class"}


def test_views_of_a_chair_are_grey_on_white_and_differ(written: Path) -> None:
    chair = sorted(written.iterdir())[0]
    images = np.stack([np.array(Image.open(p)) for p in sorted((chair / "renders").iterdir())])
    assert images.shape == (62, 32, 32)
    assert (images[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert len(np.unique(images.reshape(62, -1), axis=0)) == 62


@pytest.mark.parametrize("number", [0, 1])
def test_views_are_from_above_and_turn_the_back_to_the_left_first(
    written: Path, number: int
) -> None:
    """From an elevation e, a corner (x, y, z) is seen at the height cos e y - sin e z."""
    name = hashlib.sha256(f"procedural chair 5 {number}".encode()).hexdigest()[:32]
    paths = sorted((written / name / "renders").iterdir())
    pictures = [np.array(Image.open(path)) < 250 for path in paths]
    _, y, z = draw_chair(5, number).triangles().reshape(-1, 3).T
    for view, elevation in ((0, 20), (31, 30)):  # from the front
        e = np.radians(elevation)
        rows = np.flatnonzero(pictures[view].any(axis=1))
        heights = (np.cos(e) * y - np.sin(e) * z) / 1.05 * 16
        assert 16 - rows.min() == pytest.approx(heights.max(), abs=1.1)
        assert 15 - rows.max() == pytest.approx(heights.min(), abs=1.1)
    for view, side in ((8, -1), (23, 1)):  # from azimuths of 93 and 267 degrees
        rows, columns = np.nonzero(pictures[view])
        assert side * (columns[rows < rows.min() + 3].mean() - 15.5) > 2
