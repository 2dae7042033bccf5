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
