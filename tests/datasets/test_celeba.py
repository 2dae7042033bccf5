import io
import pickle
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.datasets import Celeba
from infogan.datasets.celeba import read_attributes, read_partition
from infogan.datasets.values import Factor, RawImages
from infogan.errors import Rejected, UserError
from infogan.files import digest
from infogan.options import Source

Refused = Callable[[str], AbstractContextManager[None]]

SAMPLES = Path(__file__).parents[3] / "shared" / "datasets" / "celeba"
TITLES = [f"Attribute_{n}" for n in range(40)]
COUNT = 9


def jpeg(number: int) -> bytes:
    """A grey square, as bright as its number says."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (20 * number,) * 3).save(file, "JPEG", quality=95)
    return file.getvalue()


def signs(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).choice([-1, 1], (count, 40))


def attribute_lines(count: int = COUNT) -> list[str]:
    # Columns are aligned in the original, so that 1 has a blank more before it than -1.
    rows = [
        f"{n:06}.jpg " + " ".join(f"{sign:2}" for sign in row)
        for n, row in enumerate(signs(count), 1)
    ]
    return [str(count), " ".join(TITLES) + " ", *rows]


def partition_lines(count: int = COUNT) -> list[str]:
    return [f"{n:06}.jpg {n % 3}" for n in range(1, count + 1)]


def write(
    folder: Path,
    numbers: list[int],
    *,
    unpacked: bool = False,
    end: str = "\r\n",
    attributes: list[str] | None = None,
    partition: list[str] | None = None,
) -> None:
    for name, lines in (
        ("list_attr_celeba.txt", attributes or attribute_lines()),
        ("list_eval_partition.txt", partition or partition_lines()),
    ):
        (folder / name).write_bytes("".join(line + end for line in lines).encode("latin1"))
    if unpacked:
        (folder / "img_align_celeba").mkdir()
        for n in numbers:
            (folder / "img_align_celeba" / f"{n:06}.jpg").write_bytes(jpeg(n))
        return
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        archive.mkdir("img_align_celeba")
        for n in numbers:
            archive.writestr(f"img_align_celeba/{n:06}.jpg", jpeg(n))


def read(folder: Path, **fields: Any) -> RawImages:
    source = Source.model_validate({"files": [], "addresses": [], **fields})
    return Celeba(str(folder)).load()(source)


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_each_image_has_its_own_attributes_and_split(
    tmp_path: Path, unpacked: bool, end: str
) -> None:
    write(tmp_path, [9, 2, 5, 3, 4, 7], unpacked=unpacked, end=end)
    found = read(tmp_path)
    assert found.factors == tuple(Factor(title, "binary") for title in TITLES)
    expected = {"train": [3, 9], "valid": [4, 7], "test": [2, 5]}
    assert list(found.splits) == list(expected)
    for name, numbers in expected.items():
        split = found.splits[name]
        assert split.labels is None
        assert split.names == [f"img_align_celeba/{n:06}.jpg" for n in numbers]
        assert [int(image.mean().round()) for image in split.images] == [20 * n for n in numbers]
        assert split.images[0].shape == (3, 8, 8)
        rows = signs()[np.array(numbers) - 1]
        np.testing.assert_array_equal(split.factors, (rows == 1).astype(np.float32), strict=True)


def test_lists_in_another_order_say_the_same(tmp_path: Path) -> None:
    top, rows = attribute_lines()[:2], attribute_lines()[2:]
    write(tmp_path, [1, 2, 3, 4, 5], attributes=[*top, *rows[::-1]])
    split = read(tmp_path).splits["test"]
    np.testing.assert_array_equal(split.factors, signs()[[1, 4]] == 1)


def test_a_split_without_images_is_there_and_empty(tmp_path: Path) -> None:
    write(tmp_path, [1, 4])
    found = {name: len(split.images) for name, split in read(tmp_path).splits.items()}
    assert found == {"train": 0, "valid": 2, "test": 0}


def test_a_persons_own_folder_is_read_where_it_is(tmp_path: Path) -> None:
    write(tmp_path, [1, 4])
    assert len(read(tmp_path / "elsewhere", path=str(tmp_path)).splits["valid"].images) == 2


@pytest.mark.parametrize("unpacked", [False, True])
def test_what_was_opened_is_told(tmp_path: Path, unpacked: bool) -> None:
    write(tmp_path, [1, 4], unpacked=unpacked)
    paths = [tmp_path / f"list_{name}.txt" for name in ("attr_celeba", "eval_partition")]
    size = sum(len(jpeg(n)) for n in (1, 4))
    images = {"img_align_celeba": f"2 files, {size:,} bytes"}
    if not unpacked:
        paths.append(tmp_path / "img_align_celeba.zip")
        images = {}
    hashes = {path.name: digest(path, "sha256") for path in paths}
    assert read(tmp_path).origin == hashes | images


def test_images_are_picklable_and_decoded_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path, [3, 6])
    path = tmp_path / "img_align_celeba.zip"
    content = bytearray(path.read_bytes())
    content[content.index(jpeg(6)) + 200] ^= 255
    path.write_bytes(content)
    images = pickle.loads(pickle.dumps(read(tmp_path).splits["train"].images))
    assert images[0].mean().round() == 60
    with pytest.raises(Rejected, match="is cut short or damaged"):
        images[1]


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_a_missing_list_is_named(tmp_path: Path, refused: Refused, name: str) -> None:
    write(tmp_path, [1])
    (tmp_path / name).unlink()
    with refused(f"has no {name}"):
        read(tmp_path)


def test_missing_images_are_named(tmp_path: Path, refused: Refused) -> None:
    write(tmp_path, [])
    with refused("img_align_celeba.zip holds no image img_align_celeba/NNNNNN.jpg"):
        read(tmp_path)
    (tmp_path / "img_align_celeba.zip").unlink()
    with refused("holds neither an archive nor a folder img_align_celeba"):
        read(tmp_path)


@pytest.mark.parametrize("stranger", [0, 10, 700_000])
def test_an_image_that_no_list_knows_is_refused(
    tmp_path: Path, refused: Refused, stranger: int
) -> None:
    write(tmp_path, [1, stranger])
    with refused(f"zip holds {stranger:06}.jpg, which list_attr_celeba.txt does not list"):
        read(tmp_path)


def changed(lines: list[str], number: int, old: str, new: str) -> list[str]:
    assert old in lines[number]
    return [line.replace(old, new, 1) if n == number else line for n, line in enumerate(lines)]


A, P = attribute_lines(), partition_lines()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (A[:-1], "announces '9' images in its first line, but lists 8"),
        ([*A, A[-1]], "announces '9' images in its first line, but lists 10"),
        (["many", *A[1:]], "announces 'many' images"),
        (changed(A, 1, "Attribute_7 ", ""), "names 39 different attributes in its second line"),
        (changed(A, 1, "Attribute_7 ", "Attribute_8 "), "names 39 different attributes"),
        (["9"], "ends within its header of two lines"),
        ([""], "ends within its header of two lines"),
        (["0", A[1]], "lists no image"),
        ([*A[:4], A[4] + " 1", *A[5:]], "each line is an image's name and 40 numbers, but"),
        ([*A[:4], A[4][:-3], *A[5:]], "each line is an image's name and 40 numbers, but"),
        ([*A[:4], A[4][:-2] + " x", *A[5:]], "40 numbers, but could not convert string 'x'"),
        ([*A[:4], A[4][:-2] + " 0", *A[5:]], "gives 000003.jpg the value 0 for Attribute_39, but"),
        ([*A[:4], A[4][:-2] + " 2", *A[5:]], "gives 000003.jpg the value 2 for Attribute_39, but"),
        ([*A[:4], A[4][:-2] + " 1.0", *A[5:]], "is damaged"),
        (changed(A, 3, ".jpg", ".png"), "lists '000002.png', but images are called 000001.jpg"),
        (changed(A, 3, "000002.jpg", "2.jpg"), "lists '2.jpg', but"),
        (changed(A, 3, "000002.jpg", "000002.jpg.and.more"), "lists '000002.jpg.and.m', but"),
        (changed(A, 3, "000002", "000001"), "lists 000001.jpg twice"),
        (changed(A, 3, "000002", "00000\xe9"), "is no plain text"),
        ([*A[:4], "", *A[5:]], "40 numbers, but some lines are empty"),
    ],
)
def test_a_wrong_list_of_attributes_is_refused_with_what_is_wrong(
    tmp_path: Path, refused: Refused, lines: list[str], told: str
) -> None:
    write(tmp_path, [1, 2], attributes=lines)
    with refused(f"list_attr_celeba.txt.*({told})"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([""], "lists no image"),
        (changed(P, 4, " 2", " 3"), "puts 000005.jpg into part 3, but the parts are 0"),
        (changed(P, 4, " 2", " -1"), "puts 000005.jpg into part -1, but"),
        (changed(P, 4, " 2", " 2 0"), "each line is an image's name and 1 numbers, but"),
        (changed(P, 4, " 2", ""), "each line is an image's name and 1 numbers, but"),
        (changed(P, 4, " 2", " test"), "could not convert string 'test'"),
        (changed(P, 4, "000005", "5"), "lists '5.jpg', but"),
        (changed(P, 4, "000005", "000004"), "lists 000004.jpg twice"),
        (P[:-1], "list_attr_celeba.txt lists 000009.jpg, which list_eval_partition.txt does not"),
        ([*P, "000010.jpg 0"], "partition.txt lists 000010.jpg, which list_attr_celeba.txt does"),
    ],
)
def test_a_wrong_list_of_splits_is_refused_with_what_is_wrong(
    tmp_path: Path, refused: Refused, lines: list[str], told: str
) -> None:
    write(tmp_path, [1, 2], partition=lines)
    with refused(told):
        read(tmp_path)


def test_a_list_cut_anywhere_in_a_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list_attr_celeba.txt"
    whole = "\n".join(A).encode()
    for length in range(0, len(whole) - 1, 17):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"list_attr_celeba\.txt"):
            read_attributes(path)


def test_lists_of_all_images_are_read_in_seconds(tmp_path: Path) -> None:
    count, rows = 202_599, attribute_lines(100)[2:]
    lines = [f"{n:06}.jpg{rows[n % 100][10:]}" for n in range(1, count + 1)]
    (tmp_path / "attributes").write_text("\n".join([str(count), " ".join(TITLES), *lines]))
    (tmp_path / "parts").write_text("\n".join(partition_lines(count)))
    start = time.process_time()
    _, numbers, attributes = read_attributes(tmp_path / "attributes")
    listed, parts = read_partition(tmp_path / "parts")
    assert time.process_time() - start < 10  # 2 seconds, on a machine at rest
    assert attributes.shape == (count, 40)
    assert np.bincount(parts).tolist() == [count // 3] * 3
    np.testing.assert_array_equal(numbers, listed)


@pytest.mark.skipif(not SAMPLES.exists(), reason="the real sample is not here")
def test_the_real_sample_is_read_with_its_published_shares() -> None:
    found = read(SAMPLES)
    counts = {name: len(split.images) for name, split in found.splits.items()}
    assert counts == {"train": 4000, "valid": 500, "test": 500}
    male = [factor.name for factor in found.factors].index("Male")
    factors = [split.factors for split in found.splits.values()]
    share = np.concatenate([each for each in factors if each is not None])[:, male].mean()
    assert round(float(share), 3) == 0.447
    assert found.splits["train"].images[0].shape == (3, 218, 178)
    names = found.splits["train"].names
    assert names is not None
    assert names[0] == "img_align_celeba/000001.jpg"
