from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from infogan import morphable
from infogan.errors import UserError
from infogan.morphable import ShapeModel, read_model

# A pyramid: five vertices, four sides.
MEAN = np.array([[0, 0, 0], [2, 0, 0], [2, 4, 0], [0, 4, 0], [1, 2, 3]], np.float32)
TRIANGLES = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
BASIS = np.random.default_rng(0).normal(size=(15, 3)).astype(np.float32)
VARIANCE = np.array([4.0, 1.0, 0.25], np.float32)


def basel_h5(path: Path, **changes: Any) -> Path:
    values = {"mean": MEAN.ravel(), "pcaBasis": BASIS, "pcaVariance": VARIANCE, **changes}
    with h5py.File(path, "w") as file:
        for name in ("mean", "pcaBasis", "pcaVariance"):
            if values[name] is not None:
                file[f"shape/model/{name}"] = values[name]
        file["shape/representer/cells"] = values.get("cells", TRIANGLES.T)
    return path


def basel_mat(path: Path, **changes: Any) -> Path:
    values = {
        "shapeMU": MEAN.reshape(-1, 1),
        "shapePC": BASIS,
        "shapeEV": np.sqrt(VARIANCE)[:, None],
        "tl": TRIANGLES[:, [0, 2, 1]] + 1,
    } | changes
    savemat(path, {name: value for name, value in values.items() if value is not None})
    return path


def obj(path: Path, vertices: np.ndarray, faces: bool = True) -> Path:
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["vt 0 0"]
    lines += ["f 1/1/1 2/1 5/1", "f 2 3 5", "f 1 2 3 4"] if faces else []
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def tiny_ict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Path]]:
    monkeypatch.setattr(morphable, "_ICT_VERTICES", 5)
    monkeypatch.setattr(morphable, "_ICT_POLYGONS", 3)
    mean = obj(tmp_path / "generic_neutral_mesh.obj", np.vstack([MEAN, [[9, 9, 9]]]))
    modes = [
        obj(tmp_path / f"identity{k:03d}.obj", np.vstack([MEAN + k + 1, [[0, 0, 0]]]), faces=False)
        for k in range(2)
    ]
    return mean, modes


def check_normalised(model: ShapeModel) -> None:
    low, high = model.mean.min(axis=0), model.mean.max(axis=0)
    np.testing.assert_allclose(low + high, 0, atol=1e-6)
    assert high[1] - low[1] == pytest.approx(2)


def test_a_basel_model_of_2017_is_read_with_its_modes_as_standard_deviations(
    tmp_path: Path,
) -> None:
    model = read_model(basel_h5(tmp_path / "model2017-1_bfm_nomouth.h5"))
    check_normalised(model)
    np.testing.assert_array_equal(model.triangles, TRIANGLES)
    scale = 2 / 4  # the pyramid is 4 high
    expected = (BASIS * np.sqrt(VARIANCE)).T.reshape(3, 5, 3) * scale
    np.testing.assert_allclose(model.modes, expected, rtol=1e-6)


def test_the_basel_model_of_2009_is_the_same_in_another_file(tmp_path: Path) -> None:
    new = read_model(basel_h5(tmp_path / "a.h5"))
    old = read_model(basel_mat(tmp_path / "01_MorphableModel.mat"))
    np.testing.assert_allclose(old.mean, new.mean, rtol=1e-6)
    np.testing.assert_allclose(old.modes, new.modes, rtol=1e-5)
    np.testing.assert_array_equal(old.triangles, new.triangles)
    assert "2009" in old.name


def test_the_ict_model_is_read_without_what_follows_the_face(
    tiny_ict: tuple[Path, list[Path]],
) -> None:
    mean, modes = tiny_ict
    model = read_model(mean, modes)
    check_normalised(model)
    assert model.mean.shape == (5, 3)
    np.testing.assert_array_equal(model.triangles, [[0, 1, 4], [1, 2, 4], [0, 1, 2], [0, 2, 3]])
    np.testing.assert_allclose(model.modes[1], 2 * model.modes[0], rtol=1e-6)
    np.testing.assert_allclose(model.modes[0], 0.5, rtol=1e-6)


def test_a_face_is_the_mean_and_its_share_of_each_mode(tiny_ict: tuple[Path, list[Path]]) -> None:
    model = read_model(*tiny_ict)
    np.testing.assert_allclose(model.shape(np.zeros(2)), model.mean)
    expected = model.mean + 2 * model.modes[0] - model.modes[1]
    np.testing.assert_allclose(model.shape(np.array([2.0, -1.0])), expected, rtol=1e-6)


def test_missing_modes_are_missed(tiny_ict: tuple[Path, list[Path]]) -> None:
    mean, modes = tiny_ict
    with pytest.raises(UserError, match="has no identity modes beside it"):
        read_model(mean, [])
    modes[1].unlink()
    with pytest.raises(UserError, match=r"identity001.obj is missing: .* not complete"):
        read_model(mean, modes)


def test_a_mode_of_another_mesh_is_refused(tiny_ict: tuple[Path, list[Path]]) -> None:
    mean, modes = tiny_ict
    obj(modes[0], MEAN, faces=False)
    with pytest.raises(UserError, match=r"identity000.obj has 5 vertices instead of 6"):
        read_model(mean, modes)
    whole = obj(modes[0], np.vstack([MEAN, [[0, 0, 0]]])).read_text()
    read_model(mean, modes)
    modes[0].write_text(whole.replace("f 2 3 5", "f 2/9 3/9 5/9"))
    read_model(mean, modes)
    for other in (whole.replace("f 2 3 5", "f 2 4 5"), whole.replace("f 2 3 5\n", "")):
        modes[0].write_text(other)
        with pytest.raises(UserError, match=r"identity000.obj has other faces than the mean"):
            read_model(mean, modes)


def test_a_mean_that_is_another_mesh_is_refused(tiny_ict: tuple[Path, list[Path]]) -> None:
    mean, modes = tiny_ict
    whole = mean.read_text()
    obj(mean, MEAN[:4])
    with pytest.raises(UserError, match=r"mesh.obj has 4 vertices and 3 faces, but .* least 5"):
        read_model(mean, modes)
    mean.write_text(whole.replace("f 2 3 5\n", ""))
    with pytest.raises(UserError, match=r"mesh.obj has 6 vertices and 2 faces, but .* 5 and 3"):
        read_model(mean, modes)


@pytest.mark.parametrize(
    "line",
    [
        *("v 1 two 3", "v 1 2", "v 1 2 nan", "v inf 2 3"),
        *("f 1 2 x", "f 1 2", "f ", "f 0 1 2", "f 1 2 6", "f -1 -2 -3", "f 1//2 2//2 /3"),
    ],
)
@pytest.mark.parametrize("place", ["mean", "mode"])
def test_a_line_that_is_not_understood_is_named(
    tiny_ict: tuple[Path, list[Path]], line: str, place: str
) -> None:
    mean, modes = tiny_ict
    path = mean if place == "mean" else obj(modes[0], np.vstack([MEAN, [[0, 0, 0]]]))
    written = path.read_text().splitlines()
    number = next(n for n, each in enumerate(written) if each[0] == line[0])
    written[number] = line
    path.write_text("\n".join(written))
    with pytest.raises(UserError, match=rf"{path.name} has '{line}' in line {number + 1}, but a "):
        read_model(mean, modes)


def test_a_mesh_that_is_no_text_is_refused(tiny_ict: tuple[Path, list[Path]]) -> None:
    mean, modes = tiny_ict
    modes[0].write_bytes(b"v 1 2 3\xff")
    with pytest.raises(UserError, match=r"identity000.obj is not a Wavefront OBJ file"):
        read_model(mean, modes)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mean_that_is_flat_is_refused(tmp_path: Path, axis: int) -> None:
    mean = MEAN.copy()
    mean[:, axis] = 7
    with pytest.raises(UserError, match=r"has a mean face of .* but a face has width, height and"):
        read_model(basel_h5(tmp_path / "model.h5", mean=mean.ravel()))


@pytest.mark.parametrize(
    "changes",
    [
        {"pcaVariance": np.array([4, -1, 1.0])},
        {"mean": MEAN.ravel() * np.nan},
        {"pcaBasis": np.full((15, 3), np.inf)},
    ],
)
def test_a_model_that_is_not_finite_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is damaged: not all of its numbers are finite"):
        read_model(basel_h5(tmp_path / "model.h5", **changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pcaBasis": None}, "is not a Basel Face Model of 2017 or 2019: .*pcaBasis"),
        ({"pcaBasis": BASIS[:-1]}, "do not fit together"),
        ({"pcaVariance": VARIANCE[:-1]}, "do not fit together"),
        ({"cells": TRIANGLES.T + 3}, "do not fit together"),
        ({"cells": TRIANGLES}, "do not fit together"),
        ({"mean": MEAN.ravel()[:-1]}, "do not fit together"),
    ],
)
def test_a_basel_file_of_another_version_or_with_missing_modes_is_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        read_model(basel_h5(tmp_path / "model.h5", **changes))


def test_an_old_basel_file_without_its_variables_says_what_it_has(tmp_path: Path) -> None:
    path = basel_mat(tmp_path / "model.mat", shapeEV=None)
    told = "it has no 'shapeEV', only shapeMU, shapePC, tl"
    with pytest.raises(UserError, match=told):
        read_model(path)


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_a_cut_file_is_refused(tmp_path: Path, suffix: str) -> None:
    make = basel_h5 if suffix == ".h5" else basel_mat
    path = make(tmp_path / f"model{suffix}")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match=r"model\.(h5 is not a readable HDF5|mat is )"):
        read_model(path)


def test_an_empty_file_and_one_without_triangles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.mat").write_bytes(b"")
    with pytest.raises(UserError, match="is not a readable MATLAB file"):
        read_model(tmp_path / "model.mat")
    none = basel_h5(tmp_path / "model.H5", cells=np.empty((3, 0), int))
    with pytest.raises(UserError, match="do not fit together"):
        read_model(none)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "face.ply").write_text("ply")
    with pytest.raises(UserError, match=r"face.ply is no face model: .h5"):
        read_model(tmp_path / "face.ply")
