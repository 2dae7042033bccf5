import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from infogan import morphable
from infogan.datasets import Faces
from infogan.datasets.values import RawImages
from infogan.errors import UserError
from infogan.files import digest
from infogan.options import Slice, Source
from infogan.preprocessing import Prepared, prepare

SCENE: dict[str, Any] = {
    "kind": "faces",
    "images": 40,
    "seed": 3,
    "side": 24,
    "identity": 0.5,
    "azimuth": [-40.0, 40.0],
    "elevation": [-20.0, 20.0],
    "light": [-80.0, 80.0],
    "width": [0.8, 1.2],
}


def source(path: Path | None, **changes: Any) -> Source:
    block = {"files": [], "addresses": [], "path": path and str(path), "scene": SCENE | changes}
    return Source.model_validate(block)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An egg with a nose, in the format of a Basel model: 2 modes of random bumps."""
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 25)[:-1], np.linspace(-1.5, 1.5, 13))
    radius = 1 + 0.5 * np.exp(-10 * ((np.cos(around) - 1) ** 2 + up**2))
    egg = np.stack(
        [
            0.7 * radius * np.cos(up) * np.sin(around),
            np.sin(up),
            radius * np.cos(up) * np.cos(around),
        ],
        -1,
    )
    corner = (np.arange(12)[:, None] * 24 + np.arange(24)).ravel()
    right = (np.arange(12)[:, None] * 24 + (np.arange(24) + 1) % 24).ravel()
    triangles = np.concatenate(
        [np.stack([corner, right, right + 24], 1), np.stack([corner, right + 24, corner + 24], 1)]
    )
    path = tmp_path_factory.mktemp("head") / "head.h5"
    basis = np.random.default_rng(0).normal(size=(egg.size, 2))
    with h5py.File(path, "w") as file:
        file["shape/model/mean"] = egg.ravel()
        file["shape/model/pcaBasis"] = basis
        file["shape/model/pcaVariance"] = np.array([1e-3, 1e-4])
        file["shape/representer/cells"] = triangles.T
    return path


def read(path: Path, **changes: Any) -> RawImages:
    return Faces("unused").load()(source(path, **changes))


def rendered(raw: RawImages, first: int, last: int, scratch: Path) -> Prepared:
    split = raw.splits["renders"]
    part = Slice("renders", first, last)
    shape = (1, SCENE["side"], SCENE["side"])
    return prepare(split.images, None, part, [], shape, scratch, "a", 0, isolated=split.isolated)


def test_factors_are_known_before_anything_is_rendered(head: Path) -> None:
    raw = read(head)
    split = raw.splits["renders"]
    assert [(factor.name, factor.kind) for factor in raw.factors] == [
        ("azimuth", "linear"),
        ("elevation", "linear"),
        ("light", "linear"),
        ("width", "linear"),
    ]
    assert split.factors is not None
    assert split.factors.shape == (40, 4)
    assert split.factors.dtype == np.float32
    assert len(split.images) == 40
    assert split.isolated
    for column, name in enumerate(("azimuth", "elevation", "light", "width")):
        low, high = SCENE[name]
        values = split.factors[:, column]
        assert values.min() >= low
        assert values.max() <= high
        assert np.ptp(values) > 0.7 * (high - low)


def test_a_face_depends_on_the_seed_and_its_number_alone(head: Path, tmp_path: Path) -> None:
    raw = read(head)
    whole = rendered(raw, 0, 12, tmp_path / "a").images
    part = rendered(read(head, images=30), 5, 9, tmp_path / "b").images
    np.testing.assert_array_equal(whole[5:9], part)
    factors = raw.splits["renders"].factors
    assert factors is not None
    np.testing.assert_array_equal(factors[:30], read(head, images=30).splits["renders"].factors)

    other = read(head, seed=4)
    assert not np.array_equal(other.splits["renders"].factors, factors)
    assert not np.array_equal(rendered(other, 0, 12, tmp_path / "c").images, whole)


def test_faces_differ_and_stand_on_white(head: Path, tmp_path: Path) -> None:
    images = rendered(read(head), 0, 12, tmp_path / "a").images
    assert len(np.unique(images.reshape(12, -1), axis=0)) == 12
    assert (images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert (images < 200).any(axis=(1, 2, 3)).all()


def only(**changes: Any) -> dict[str, Any]:
    """A scene in which nothing but the named factor varies."""
    still = {"azimuth": [0.0, 0.0], "elevation": [0.0, 0.0], "light": [0.0, 0.0]}
    return {**still, "width": [1.0, 1.0], "identity": 1e-9, **changes}


@pytest.mark.parametrize(("identity", "faces"), [(1e-9, 1), (0.5, 4)])
def test_identity_says_how_far_faces_differ(
    head: Path, tmp_path: Path, identity: float, faces: int
) -> None:
    images = rendered(read(head, **only(identity=identity)), 0, 4, tmp_path).images
    assert len(np.unique(images.reshape(4, -1), axis=0)) == faces


def test_wider_faces_are_wider(head: Path, tmp_path: Path) -> None:
    raw = read(head, **only(width=[0.6, 1.0]))
    images = rendered(raw, 0, 12, tmp_path / "a").images[:, 0]
    widths = (images < 255).any(axis=1).sum(axis=1)
    factors = raw.splits["renders"].factors
    assert factors is not None
    assert np.corrcoef(widths, factors[:12, 3])[0, 1] > 0.95


def test_at_a_positive_azimuth_the_nose_is_right_of_the_middle(head: Path, tmp_path: Path) -> None:
    pytest.importorskip("vtkmodules")
    raw = read(head, **only(azimuth=[-80.0, 80.0]))
    images = rendered(raw, 0, 12, tmp_path / "a").images[:, 0]
    # The nose is at half height: there the outline reaches farther than above it.
    middles = [
        np.array([np.nonzero(row < 255)[0].mean() for row in images[:, height]])
        for height in (12, 5)
    ]
    factors = raw.splits["renders"].factors
    assert factors is not None
    assert np.corrcoef(middles[0] - middles[1], factors[:12, 0])[0, 1] > 0.9


def test_light_from_the_left_makes_the_right_half_dark(head: Path, tmp_path: Path) -> None:
    raw = read(head, **only(light=[-80.0, 80.0]))
    images = rendered(raw, 0, 12, tmp_path / "a").images[:, 0].astype(float)
    lit = images[:, :, 12:].mean(axis=(1, 2)) - images[:, :, :12].mean(axis=(1, 2))
    factors = raw.splits["renders"].factors
    assert factors is not None
    assert np.corrcoef(lit, factors[:12, 2])[0, 1] > 0.9


def test_a_model_is_read_once_and_not_again_by_the_processes_that_render(
    head: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(head, tmp_path / "copy.h5"))
    expected = rendered(read(head), 0, 3, tmp_path / "a").images
    raw = read(copy)
    copy.unlink()
    np.testing.assert_array_equal(rendered(raw, 0, 3, tmp_path / "b").images, expected)


def test_a_damaged_model_is_told_before_an_image_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "head.h5").write_bytes(b"HDF")
    with pytest.raises(UserError, match=r"head.h5 is not a readable HDF5 file"):
        read(tmp_path / "head.h5")


def test_results_know_the_name_of_the_model(
    head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(head).origin == {
        "model": "Basel Face Model",
        "path": str(head),
        "head.h5": digest(head, "sha256"),
    }
    monkeypatch.setattr(morphable, "_ICT_VERTICES", 3)
    monkeypatch.setattr(morphable, "_ICT_POLYGONS", 1)
    for name in ("generic_neutral_mesh.obj", "identity000.obj"):
        (tmp_path / name).write_text("v 0 0 0\nv 1 2 0\nv 0 1 1\nf 1 2 3\n")
    origin = Faces(str(tmp_path)).load()(source(None)).origin
    assert origin["model"] == "ICT Face Model Light"
    assert set(origin) == {"model", "generic_neutral_mesh.obj", "identity000.obj"}


@pytest.mark.parametrize("missing", [0, 2])
def test_a_gap_in_the_modes_is_refused_since_the_faces_would_be_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    monkeypatch.setattr(morphable, "_ICT_VERTICES", 3)
    monkeypatch.setattr(morphable, "_ICT_POLYGONS", 1)
    names = [f"identity{number:03}.obj" for number in range(4)]
    mesh = "v 0 0 0\nv 1 2 0\nv 0 1 1\nf 1 2 3\n"
    for name in ("generic_neutral_mesh.obj", *names):
        (tmp_path / name).write_text(mesh)
    read(tmp_path)
    (tmp_path / names[missing]).unlink()
    told = rf"has {names[missing + 1]} where {names[missing]} should follow: the modes .* gap\.$"
    with pytest.raises(UserError, match=told):
        read(tmp_path)
    (tmp_path / names[-1]).unlink()
    (tmp_path / names[missing]).write_text(mesh)
    read(tmp_path)  # fewer are another model, with nothing amiss


def test_a_source_without_a_scene_is_refused() -> None:
    nothing = Source(files=(), addresses=())
    with pytest.raises(UserError, match=r"source.scene must be of kind 'faces'"):
        Faces("unused").load()(nothing)


def test_an_empty_folder_names_the_command_that_fills_it(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    told = r"has no generic_neutral_mesh.obj: put it there, or run the ingestion"
    with pytest.raises(UserError, match=told):
        Faces(str(folder)).load()(source(None))


def test_a_missing_model_file_is_told_at_once(tmp_path: Path) -> None:
    told = r"source.path is .*nowhere.h5', where there is nothing"
    with pytest.raises(Exception, match=told):
        Faces(str(tmp_path)).save(source(tmp_path / "nowhere.h5"))
