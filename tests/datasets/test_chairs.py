import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.datasets import Chairs
from infogan.datasets.values import Factor, RawImages
from infogan.errors import Rejected
from infogan.files import digest
from infogan.options import Source

Refused = Callable[[str], AbstractContextManager[None]]

ANGLES = [(20, 11), (20, 348), (30, 0), (30, 360)]  # elevation, azimuth
CHAIRS = [f"{n:031x}" for n in range(40)]
FEW = CHAIRS[:2]
ANGULAR = (Factor("azimuth", "circular"), Factor("elevation", "linear"))

KINDS = pytest.mark.parametrize("kind", ["tar", "folder"])


def png(level: int, mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (6, 6), level if mode == "L" else (level,) * 3).save(file, "PNG")
    return file.getvalue()


def views(chairs: list[str], mode: str = "L") -> dict[str, bytes]:
    """Files by path; a view is as bright as its place says."""
    return {
        f"rendered_chairs/{chair}/renders/image_{n:03}_p{p:03}_t{t:03}_r096.png": png(
            (4 * c + n) % 256, mode
        )
        for c, chair in enumerate(chairs)
        for n, (p, t) in enumerate(ANGLES)
    }


def shapes(**told: Any) -> dict[str, bytes]:
    """A file of factors for each of the few chairs."""
    return {
        f"rendered_chairs/{chair}/factors.json": json.dumps(
            {name: value + c for name, value in told.items()}
        ).encode()
        for c, chair in enumerate(FEW)
    }


def write(folder: Path, kind: str, files: dict[str, bytes]) -> None:
    if kind == "folder":
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return
    with tarfile.open(folder / "rendered_chairs.tar", "w") as archive:
        for name, content in reversed(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def read(folder: Path, **fields: Any) -> RawImages:
    source = Source.model_validate({"files": [], "addresses": [], **fields})
    return Chairs(str(folder)).load()(source)


def chairs_of(found: RawImages, split: str) -> set[str]:
    names = found.splits[split].names
    assert names is not None
    return {name.split("/")[1] for name in names}


@KINDS
def test_each_view_has_the_angles_of_its_name(tmp_path: Path, kind: str) -> None:
    files = {**views(FEW), "rendered_chairs/all_chair_names.mat": b"", "notes.txt": b""}
    write(tmp_path, kind, files)
    found = read(tmp_path)
    assert found.factors == ANGULAR
    assert set(found.splits) == {"train", "test", "all"}
    split = found.splits["all"]
    assert split.labels is None
    assert split.names == sorted(views(FEW))
    assert [int(image.mean()) for image in split.images] == list(range(8))
    expected = np.array([(t, p) for p, t in ANGLES] * 2, np.float32)
    np.testing.assert_array_equal(split.factors, expected, strict=True)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_images_have_the_channels_of_their_files(tmp_path: Path, mode: str, channels: int) -> None:
    write(tmp_path, "tar", views(FEW, mode))
    assert read(tmp_path).splits["all"].images[0].shape == (channels, 6, 6)


def test_train_and_test_share_no_chair_and_miss_none(tmp_path: Path) -> None:
    write(tmp_path, "tar", views(CHAIRS))
    found = read(tmp_path)
    train, test = chairs_of(found, "train"), chairs_of(found, "test")
    assert train | test == set(CHAIRS)
    assert not train & test
    assert 0 < len(test) < 12
    for split in found.splits.values():
        assert len(split.images) == len(split.factors) == len(split.names)  # type: ignore[arg-type]
    assert sum(len(found.splits[name].images) for name in ("train", "test")) == 160
    assert [int(image.mean()) for image in found.splits["test"].images] == [
        4 * CHAIRS.index(chair) + n for chair in sorted(test) for n in range(4)
    ]


def test_each_split_has_the_factors_of_its_own_chairs(tmp_path: Path) -> None:
    told = {
        f"rendered_chairs/{chair}/factors.json": json.dumps({"number": c}).encode()
        for c, chair in enumerate(CHAIRS)
    }
    write(tmp_path, "tar", {**views(CHAIRS), **told})
    for split in read(tmp_path).splits.values():
        assert split.factors is not None
        assert split.factors[:, 2].tolist() == [int(image.mean()) // 4 for image in split.images]


def test_a_chair_stays_in_its_split_whichever_others_there_are(tmp_path: Path) -> None:
    write(tmp_path, "tar", views(CHAIRS))
    whole = chairs_of(read(tmp_path), "test")
    write(tmp_path, "tar", views(CHAIRS[::2]))
    half = chairs_of(read(tmp_path), "test")
    assert half == whole & set(CHAIRS[::2]) != set()


def test_of_few_chairs_the_last_is_the_test(tmp_path: Path) -> None:
    write(tmp_path, "tar", views(CHAIRS))
    hashed = sorted(chairs_of(read(tmp_path), "test"))
    others = [chair for chair in CHAIRS if chair not in hashed]
    for few in (others[:3], hashed[:2], others[:1]):
        write(tmp_path, "tar", views(few))
        assert chairs_of(read(tmp_path), "test") == {few[-1]}
        assert chairs_of(read(tmp_path), "train") == set(few[:-1])


def test_the_archive_is_told_by_its_hash_and_a_folder_by_its_files(tmp_path: Path) -> None:
    files = views(FEW)
    write(tmp_path, "folder", files)
    size = sum(map(len, files.values()))
    found = read(tmp_path)
    assert found.origin == {"rendered_chairs": f"8 files, {size:,} bytes"}
    os.utime(tmp_path / min(files), ns=(0, 1))
    assert read(tmp_path).stamp != found.stamp
    write(tmp_path, "tar", files)
    path = tmp_path / "rendered_chairs.tar"
    assert read(tmp_path).origin == {path.name: digest(path, "sha256")}


def of_chair(name: str) -> Factor:
    return Factor(name, "linear", of_object=True)


@KINDS
def test_what_chairs_tell_of_their_shape_are_further_factors(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind, {**views(FEW), **shapes(width=1.5, back=3)})
    found = read(tmp_path)
    assert found.factors == (*ANGULAR, of_chair("back"), of_chair("width"))
    factors = found.splits["all"].factors
    assert factors is not None
    np.testing.assert_array_equal(factors[:, 2:], [[3, 1.5]] * 4 + [[4, 2.5]] * 4)
    assert factors.dtype == np.float32


@KINDS
def test_the_class_that_chairs_tell_of_is_a_label_and_no_factor(tmp_path: Path, kind: str) -> None:
    told = {
        f"rendered_chairs/{chair}/factors.json": json.dumps(
            {"arc": -1, "class": c % 7, "width": c}
        ).encode()
        for c, chair in enumerate(CHAIRS)
    }
    write(tmp_path, kind, {**views(CHAIRS), **told})
    found = read(tmp_path)
    assert found.factors == (*ANGULAR, of_chair("arc"), of_chair("width"))
    for split in found.splits.values():
        assert split.labels is not None
        assert split.labels.dtype == np.int64
        chairs = [int(image.mean()) // 4 for image in split.images]
        assert split.labels.tolist() == [chair % 7 for chair in chairs]
        assert split.factors is not None
        assert split.factors[:, 2:].tolist() == [[-1, chair] for chair in chairs]


FIRST, SECOND = (f"rendered_chairs/{chair}/factors.json" for chair in FEW)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({SECOND: None}, f"has no {SECOND}, though other chairs have one"),
        ({SECOND: b'{"a": 1}'}, f"has {SECOND} with a, but that of {FEW[0]} has a, b"),
        ({SECOND: b'{"a": 1, "b": 2, "c": 3}'}, "with a, b, c, but"),
        ({FIRST: b'{"a": 1, "b"'}, f"has {FIRST}, which is damaged"),
        ({FIRST: b"\xff"}, f"has {FIRST}, which is damaged"),
        ({FIRST: b"[" * 100_000}, f"has {FIRST}, which is damaged"),
        ({FIRST: b"[1, 2]"}, f"has {FIRST}, which must be a flat object of names and numbers"),
        ({FIRST: b'{"a": 1, "b": "wide"}'}, "must be a flat object"),
        ({FIRST: b'{"a": 1, "b": true}'}, "must be a flat object"),
        ({FIRST: b'{"a": 1, "b": [1]}'}, "must be a flat object"),
        ({FIRST: b'{"a": 1, "b": NaN}'}, "must be a flat object"),
        ({FIRST: b'{"a": 1, "b": 1' + b"0" * 400 + b"}"}, "must be a flat object"),
        ({FIRST: b'{"a": 1, "height (cm)": 4}'}, r"'height \(cm\)', but names are of letters"),
        ({FIRST: b'{"a": 1, "a.b": 4}'}, "'a.b', but names are of letters"),
        ({FIRST: b'{"a": 1, "class": -1}'}, "with class -1, which must be a whole number from 0"),
        ({FIRST: b'{"a": 1, "class": 1.5}'}, "with class 1.5, which must be a whole number"),
        ({FIRST: b'{"a": 1, "class": 1000}'}, "a whole number from 0 to 999"),
        ({FIRST: b'{"a": 1, "azimuth": 2}'}, "with azimuth, which the names of the images tell"),
    ],
)
def test_factors_that_do_not_fit_are_refused_by_file(
    tmp_path: Path, refused: Refused, change: dict[str, bytes | None], told: str
) -> None:
    files = {**views(FEW), **shapes(a=1, b=2), **change}
    write(
        tmp_path, "tar", {name: content for name, content in files.items() if content is not None}
    )
    with refused(told):
        read(tmp_path)


@KINDS
@pytest.mark.parametrize(
    "name",
    [
        "image_001_p020_t011_r096.jpg",
        "image_001_p020_t011_r096.png.part",
        "image_001_p20_t011_r096.png",
        "image_001_p020_t361_r096.png",
        "image_001_p020_r096.png",
        "factors.json",
    ],
)
def test_a_view_of_another_name_is_refused(
    tmp_path: Path, refused: Refused, kind: str, name: str
) -> None:
    path = f"rendered_chairs/{FEW[0]}/renders/{name}"
    write(tmp_path, kind, {**views(FEW), path: png(0)})
    with refused(f"holds {path}, but a view is called image_NNN_pPPP_tTTT_r096.png, where PPP"):
        read(tmp_path)


@KINDS
def test_hidden_files_beside_the_views_do_no_harm(tmp_path: Path, kind: str) -> None:
    path = f"rendered_chairs/{FEW[0]}/renders/._image_001_p020_t011_r096.png"
    write(tmp_path, kind, {**views(FEW), path: b""})
    assert len(read(tmp_path).splits["all"].images) == 8


@KINDS
def test_chairs_without_views_are_refused(tmp_path: Path, refused: Refused, kind: str) -> None:
    write(tmp_path, kind, {**shapes(a=1), "rendered_chairs/all_chair_names.mat": b""})
    with refused("holds no image rendered_chairs/<chair>/renders/image_"):
        read(tmp_path)


def test_missing_chairs_are_named(tmp_path: Path, refused: Refused) -> None:
    with refused("holds neither an archive nor a folder rendered_chairs"):
        read(tmp_path)


def test_a_persons_own_archive_is_read_where_it_is(tmp_path: Path) -> None:
    write(tmp_path, "tar", views(FEW))
    assert len(read(tmp_path / "elsewhere", path=str(tmp_path)).splits["all"].images) == 8


@KINDS
def test_images_are_picklable_and_decoded_when_asked_for(tmp_path: Path, kind: str) -> None:
    files = views(FEW)
    files[min(files)] = b""
    write(tmp_path, kind, files)
    images = pickle.loads(pickle.dumps(read(tmp_path).splits["all"].images))
    assert images[1].mean() == 1
    with pytest.raises(Rejected, match="is empty"):
        images[0]


SCENE = {"kind": "chairs", "chairs": 2, "seed": 0, "side": 8}


def procedural(**changes: Any) -> Source:
    block = {"files": [], "addresses": [], "scene": SCENE | changes}
    return Source.model_validate(block)


def render(folder: Path, **changes: Any) -> RawImages:
    dataset, source = Chairs(str(folder)), procedural(**changes)
    dataset.save(source)
    return dataset.load()(source)


def test_procedural_chairs_are_rendered_again_when_their_scene_changes_and_only_then(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "chairs"
    first = render(folder)
    assert len(first.splits["all"].images) == 2 * 62
    assert first.origin["rendered_chairs"].startswith("2 chairs, procedural, seed 0, 8 pixels; ")
    assert render(folder).stamp == first.stamp
    assert render(folder, side=10).splits["all"].images[0].shape == (1, 10, 10)
    other = render(folder, seed=1)
    assert not set(chairs_of(other, "all")) & set(chairs_of(first, "all"))
    assert len(chairs_of(render(folder, chairs=1), "all")) == 1

    # A tree of an earlier version, whose chairs did not tell of their class.
    (folder / "rendered_chairs" / "scene.json").write_text(json.dumps(SCENE))
    for path in folder.glob("rendered_chairs/*/factors.json"):
        path.write_text('{"width": 1, "height": 1}')
    again = render(folder)
    assert again.splits["all"].labels is not None
    assert set(again.splits["all"].labels) <= set(range(8))
    assert [path.name for path in folder.iterdir()] == ["rendered_chairs"]


def test_rendering_that_was_cut_off_goes_on_if_its_scene_is_still_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "chairs"
    render(folder)
    done = sorted(path for path in (folder / "rendered_chairs").iterdir() if path.is_dir())
    shutil.rmtree(done[0])
    (folder / "rendered_chairs").rename(folder / ".new_rendered_chairs")
    kept = (folder / ".new_rendered_chairs" / done[1].name).stat().st_mtime_ns
    assert len(render(folder).splits["all"].images) == 2 * 62
    assert done[1].stat().st_mtime_ns == kept

    (folder / "rendered_chairs").rename(folder / ".new_rendered_chairs")
    again = render(folder, side=10)
    assert {image.shape for image in again.splits["all"].images} == {(1, 10, 10)}


def test_chairs_of_another_scene_are_not_read(tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "chairs"
    render(folder)
    with refused("rendered_chairs was not rendered from source.scene: run the whole ingestion"):
        Chairs(str(folder)).load()(procedural(seed=1))


def test_a_persons_own_chairs_are_neither_rendered_nor_replaced(
    tmp_path: Path, refused: Refused
) -> None:
    write(tmp_path, "folder", views(FEW))
    source = procedural().model_copy(update={"path": str(tmp_path)})
    dataset = Chairs(str(tmp_path / "raw"))
    dataset.save(source)
    assert not list((tmp_path / "raw").glob("*"))
    assert len(dataset.load()(source).splits["all"].images) == 8
    with refused("rendered_chairs holds no scene.json, so its chairs may not be procedural"):
        Chairs(str(tmp_path)).save(procedural())
    assert len(read(tmp_path).splits["all"].images) == 8
