import hashlib
import io
import os
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.datasets import ImageFolder
from infogan.datasets.folder import SUFFIXES
from infogan.datasets.values import RawImages, RawSplit
from infogan.errors import Rejected
from infogan.options import Data, Slice, Source
from infogan.pipelines.ingestion.nodes import preprocess
from infogan.preprocessing import prepare

Refused = Callable[[str], AbstractContextManager[None]]


def write(path: Path, level: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (6, 4), level).save(path, **options)
    return path


def source(folder: Path | str) -> Source:
    return Source.model_validate({"files": [], "addresses": [], "path": str(folder)})


def read(folder: Path) -> RawImages:
    return ImageFolder(str(folder / "unused")).load()(source(folder))


def all_of(folder: Path) -> RawSplit:
    found = read(folder)
    assert set(found.splits) == {"all"}
    assert found.factors == ()
    return found.splits["all"]


def names_of(folder: Path) -> list[str]:
    return list(all_of(folder).names or ())


def test_images_of_all_kinds_are_found_at_any_depth(tmp_path: Path) -> None:
    names = {f"{'abc'[n % 3]}/{n}/x{suffix}" for n, suffix in enumerate(SUFFIXES)}
    names |= {"top.PNG", "top.Jpg"}
    for name in names:
        write(tmp_path / name)
    split = all_of(tmp_path)
    assert set(split.names or ()) == names
    assert {image.shape[1:] for image in split.images} == {(4, 6)}
    assert split.factors is None


def test_other_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a" / "kept.png")
    for name in (".hidden.png", "._kept.png", ".git/x.png", "__MACOSX/a/x.png", "a/.b/c/x.png"):
        write(tmp_path / name)
    for name in ("notes.txt", "png", "x.png.txt", "table.csv"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert names_of(tmp_path) == ["a/kept.png"]


def test_links_that_leave_the_folder_are_rejected_and_those_to_folders_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write(inside / "a" / "x.png")
    write(outside / "y.png")
    (inside / "a" / "within.png").symlink_to(inside / "a" / "x.png")
    (inside / "a" / "out.png").symlink_to(outside / "y.png")
    (inside / "a" / "broken.png").symlink_to(outside / "z.png")
    (inside / "b").symlink_to(outside)
    (inside / "round").symlink_to(inside)
    (tmp_path / "link").symlink_to(inside)
    for folder in (inside, tmp_path / "link"):
        split = all_of(folder)
        names = list(split.names or ())
        assert set(names) == {"a/x.png", "a/within.png", "a/out.png"}
        assert split.images[names.index("a/within.png")].shape == (1, 4, 6)
        with pytest.raises(Rejected, match="is a link that leads out of the folder"):
            split.images[names.index("a/out.png")]
    for name in ("b", "round"):
        assert f"{inside / name} is a link to a folder, and is left out" in caplog.text


def test_images_are_in_an_order_without_meaning_that_new_images_do_not_change(
    tmp_path: Path,
) -> None:
    for n in range(30):
        write(tmp_path / f"{n:02}.png", n)
    before = all_of(tmp_path)
    names = list(before.names or ())
    assert names == sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert names != sorted(names)
    assert [f"{int(image.mean()):02}.png" for image in before.images] == names
    write(tmp_path / "new.png")
    after = names_of(tmp_path)
    assert [name for name in after if name != "new.png"] == names


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for n, name in enumerate(["cat", "ant", "bee"]):
        for m in range(5):
            write(tmp_path / name / "deeper" / f"{m}.png", n)
    split = all_of(tmp_path)
    assert split.labels is not None
    assert split.labels.dtype == np.int64
    by_level = {0: 2, 1: 0, 2: 1}  # cat, ant, bee
    expected = [by_level[int(image.mean())] for image in split.images]
    assert split.labels.tolist() == expected
    assert sorted(expected) == [0] * 5 + [1] * 5 + [2] * 5


def test_classes_keep_their_names_in_the_order_a_person_counts(tmp_path: Path) -> None:
    for n, name in enumerate(["10", "1", "b10", "7", "2", "b9", "a"]):
        write(tmp_path / name / f"{n}.png", n)
    found = read(tmp_path)
    names = found.origin["class_names"]
    assert names == ["1", "2", "7", "10", "a", "b9", "b10"]
    split = found.splits["all"]
    assert split.labels is not None
    called = [names[label] for label in split.labels]
    assert called == [name.partition("/")[0] for name in split.names or ()]


@pytest.mark.parametrize(
    "names",
    [["1.png", "2.png"], ["a/1.png", "a/2.png"], ["a/1.png", "2.png"], ["a/b/1.png"]],
    ids=["no sub-folder", "one", "images beside one", "one in one"],
)
def test_without_several_sub_folders_there_are_no_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str]
) -> None:
    for name in names:
        write(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert all_of(tmp_path).labels is None
    assert "class_names" not in read(tmp_path).origin
    assert not caplog.messages


def test_images_beside_the_sub_folders_leave_no_classes_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b/1.png", "a/2.png", "a/3.png", "4.png", "5.png"):
        write(tmp_path / name)
    assert all_of(tmp_path).labels is None
    (told,) = caplog.messages
    assert told.startswith("2 images lie beside the sub-folders a, b, so these are not taken for")


def test_the_origin_is_the_place_and_how_much_is_there(tmp_path: Path) -> None:
    size = sum(write(tmp_path / f"{n}.png").stat().st_size for n in range(2))
    origin = read(tmp_path).origin
    assert origin == {"path": str(tmp_path), "images": f"2 files, {size} bytes"}


def test_the_stamp_changes_with_every_change_of_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "1.png")
    write(tmp_path / "2.png")
    stamp = read(tmp_path).stamp
    assert read(tmp_path).stamp == stamp
    seen = {stamp}
    os.utime(path, ns=(0, 1))
    seen.add(read(tmp_path).stamp)
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(0, 1))
    seen.add(read(tmp_path).stamp)
    path.rename(tmp_path / "3.png")
    seen.add(read(tmp_path).stamp)
    (tmp_path / "3.png").unlink()
    seen.add(read(tmp_path).stamp)
    assert len(seen) == 5


def test_without_a_path_the_raw_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    (tmp_path / ".gitkeep").write_bytes(b"")
    found = ImageFolder(str(tmp_path)).load()(
        Source.model_validate({"files": [], "addresses": []})
    )
    assert found.splits["all"].names == ["1.png"]
    assert found.origin["path"] == str(tmp_path)


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "mine" / "1.png")
    found = ImageFolder(str(tmp_path / "unused")).load()(source("~/mine"))
    assert found.origin["path"] == "~/mine"
    assert len(found.splits["all"].images) == 1


def test_a_name_that_is_no_text_can_be_read_and_shown(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        os.close(os.open(path, os.O_CREAT))
    except OSError:
        pytest.skip("this file system has no such names")
    split = all_of(tmp_path)
    assert split.names == ["caf\N{REPLACEMENT CHARACTER}.png"]
    with pytest.raises(Rejected, match="is empty"):
        split.images[0]


@pytest.mark.parametrize("made", ["empty", "without images", "file", "nothing"])
def test_what_is_no_folder_of_images_is_refused_with_the_suffixes(
    tmp_path: Path, refused: Refused, made: str
) -> None:
    path = tmp_path / "mine"
    told = "holds no image, but must be"
    if made == "file":
        path.write_bytes(b"")
        told = "is a file, but source.path must be"
    elif made == "nothing":
        told = "does not exist, but source.path must be"
    else:
        path.mkdir()
    if made == "without images":
        (path / "notes.txt").write_bytes(b"")
    suffixes = r"\.png, \.jpg, \.jpeg, \.webp, \.bmp, \.tif, \.tiff, \.gif"
    with refused(rf"mine {told} a folder with images \({suffixes}\)\.$"):
        read(path)


def test_without_images_and_a_path_the_option_that_names_one_is_told(
    tmp_path: Path, refused: Refused
) -> None:
    raw = tmp_path / "01_raw" / "folder"
    nothing = Source.model_validate({"files": [], "addresses": []})
    reader = ImageFolder(str(raw))
    told = r"name their folder by --params=folder\.source\.path=PATH\.$"
    with refused(rf"folder does not exist, but .*{told}"):
        reader.load()(nothing)
    reader.save(nothing)
    with refused(rf"folder holds no image, but .*: put yours there, or {told}"):
        reader.load()(nothing)


def test_images_are_picklable(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 7)
    images = pickle.loads(pickle.dumps(all_of(tmp_path).images))
    np.testing.assert_array_equal(images[0], np.full((1, 4, 6), 7, np.uint8))


def test_a_file_that_cannot_be_read_is_rejected_and_not_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "1.png")
    images = all_of(tmp_path).images
    path.unlink()
    with pytest.raises(Rejected, match=r"cannot be read \(No such file or directory\)"):
        images[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "1.png").chmod(0)
    with pytest.raises(Rejected, match=r"cannot be read \(Permission denied\)"):
        all_of(tmp_path).images[0]


def data(**changes: Any) -> Data:
    written = {
        "shape": [1, 4, 6],
        "transforms": [],
        "train": "all[0:100%]",
        "test": "all[0:100%]",
        **changes,
    }
    return Data.model_validate(written)


def test_a_folder_with_one_image_is_read_but_cannot_be_trained_on(
    tmp_path: Path, refused: Refused
) -> None:
    write(tmp_path / "mine" / "1.png")
    assert len(all_of(tmp_path / "mine").images) == 1
    reader = ImageFolder(str(tmp_path)).load()
    with refused(r"data.train is 'all\[0:100%\]' of 1 image, which is 1: at least 2 are needed"):
        preprocess(reader, tmp_path, source(tmp_path / "mine"), data())


def test_of_good_and_bad_files_the_good_are_used_and_the_bad_named_with_reasons(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mine"
    for n in range(6):
        write(folder / f"good{n}.png", 10 * n)
    whole = write(folder / "cut.jpg", 99).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.gif").write_bytes(b"<html></html>")
    frames = [Image.new("L", (6, 4), 50 * n) for n in range(3)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    (folder / "moving.gif").write_bytes(content.getvalue())
    split = all_of(folder)

    part = Slice("all", 0, len(split.images))
    found = prepare(
        split.images, split.names, part, (), (1, 4, 6), tmp_path / "scratch", "this", 4
    )
    assert dict(found.rejected) == {
        "cut.jpg": "is cut short or damaged",
        "empty.png": "is empty",
        "page.gif": "is no image (PNG, JPEG, WEBP, BMP, GIF, TIFF)",
        "moving.gif": "is animated, with 3 frames",
    }
    kept = [(split.names or [])[number] for number in found.kept]
    assert set(kept) == {f"good{n}.png" for n in range(6)}
    assert [f"good{int(image.mean()) // 10}.png" for image in found.images] == kept
