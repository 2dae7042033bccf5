import gzip
import hashlib
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from infogan import sources
from infogan.errors import UserError
from infogan.options import Source, SourceFile
from infogan.sources import fetch, verify

NAME = "data.bin"
DATA = np.random.default_rng(0).bytes(600_000)
PAGE = b"\n <!DOCTYPE html><title>quota exceeded</title>"


def pinned(content: bytes, name: str = NAME) -> SourceFile:
    digest = hashlib.sha256(content).hexdigest()
    return SourceFile(name=name, bytes=len(content), sha256=digest)


def source(*addresses: str, files: tuple[SourceFile, ...] = (pinned(DATA),)) -> Source:
    return Source(files=files, addresses=addresses)


class Origin(ThreadingHTTPServer):
    """Serves ``files``, by path; ``moods`` are what befalls the next requests of a folder.

    A number is that HTTP status; ``cut`` ends the connection halfway; ``whole`` ignores Range;
    ``page`` answers with HTML and says so; ``gzip`` claims a transfer compression; ``twice`` says
    the length twice.
    """

    daemon_threads = False  # so that closing waits for them

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.moods: dict[str, list[int | str]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]


class Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        moods = self.server.moods[self.path.split("/")[1]]
        mood = moods.pop(0) if moods else "well"
        content = self.server.files.get(self.path)
        if isinstance(mood, int) or content is None:
            self.send_response(mood if isinstance(mood, int) else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if first and first >= len(content) and mood != "whole":
            self.send_error(416)
            return
        partial = first > 0 and mood != "whole"
        body = content[first:] if partial else content
        self.send_response(206 if partial else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8" if mood == "page" else "data")
        length = str(len(body))
        self.send_header("Content-Length", f"{length}, {length}" if mood == "twice" else length)
        if mood == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if mood == "cut" else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests look at ``requests``."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, no proxy, no mirror of the person who runs the tests."""
    monkeypatch.setattr(sources, "BACK_OFF_SECONDS", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("INFOGAN_MIRROR", raising=False)


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Has the file under /a and /b."""
    with Origin() as server:
        server.files = {f"/a/{NAME}": DATA, f"/b/{NAME}": DATA}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "mnist"


def holds_exactly(folder: Path, **expected: bytes) -> bool:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return found == {name.replace("_", "."): content for name, content in expected.items()}


# --- Where files come from -----------------------------------------------------------------------


def test_a_verified_file_in_place_is_not_asked_for_again(origin: Origin, folder: Path) -> None:
    wanted = source(f"{origin.url}/a")
    fetch(wanted, folder, None)
    assert origin.paths == ["/a/data.bin"]
    before = (folder / NAME).stat()
    fetch(wanted, folder, f"{origin.url}/mirror")
    assert origin.paths == ["/a/data.bin"]
    assert (folder / NAME).stat() == before


def test_a_download_asks_for_bytes_as_stored(origin: Origin, folder: Path) -> None:
    fetch(source(f"{origin.url}/a/"), folder, None)
    assert origin.requests == [("/a/data.bin", None)]
    assert holds_exactly(folder, data_bin=DATA)


def test_a_mirror_folder_is_asked_before_any_address(
    origin: Origin, folder: Path, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    (mirror / "mnist").mkdir(parents=True)
    (mirror / "mnist" / NAME).write_bytes(DATA)
    fetch(source(f"{origin.url}/a"), folder, str(mirror))
    assert origin.requests == []
    assert holds_exactly(folder, data_bin=DATA)
    assert (mirror / "mnist" / NAME).read_bytes() == DATA


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_mirror_may_be_a_base_url(origin: Origin, folder: Path, ending: str) -> None:
    origin.files["/mirror/mnist/data.bin"] = DATA
    fetch(source(f"{origin.url}/a"), folder, f"{origin.url}/mirror{ending}")
    assert origin.paths == ["/mirror/mnist/data.bin"]
    assert holds_exactly(folder, data_bin=DATA)


def test_origins_are_tried_in_order_until_one_has_the_file(origin: Origin, folder: Path) -> None:
    del origin.files["/a/data.bin"]
    addresses = [f"{origin.url}/{name}" for name in ("nowhere", "a", "b", "c")]
    fetch(source(*addresses), folder, f"{origin.url}/mirror")
    assert origin.paths == [
        "/mirror/mnist/data.bin",
        "/nowhere/data.bin",
        "/a/data.bin",
        "/b/data.bin",
    ]
    assert holds_exactly(folder, data_bin=DATA)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_an_address_may_be_a_folder(folder: Path, tmp_path: Path, scheme: str) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    fetch(source(f"{scheme}{tmp_path}"), folder, None)
    assert holds_exactly(folder, data_bin=DATA)


def test_an_address_may_be_a_folder_of_an_installed_package(folder: Path) -> None:
    import sklearn

    shipped = Path(sklearn.__file__).parent / "datasets" / "data" / "digits.csv.gz"
    content = shipped.read_bytes()
    wanted = source("package:sklearn/datasets/data", files=(pinned(content, "digits.csv.gz"),))
    fetch(wanted, folder, None)
    assert (folder / "digits.csv.gz").read_bytes() == content


def test_a_package_that_is_not_installed_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="needs the package no_such_thing, which is not installed"):
        fetch(source("package:no_such_thing/data"), folder, None)


@pytest.mark.parametrize("address", ["package:sklearn/datasets/data", "/no/such/folder"])
def test_a_file_that_an_address_lacks_does_not_exist(folder: Path, address: str) -> None:
    with pytest.raises(UserError, match=f"{address}/data.bin does not exist"):
        fetch(source(address), folder, None)


def test_every_file_comes_from_the_first_origin_that_has_it(origin: Origin, folder: Path) -> None:
    origin.files = {"/a/one": b"1", "/b/one": b"1", "/b/two": b"22"}
    files = pinned(b"1", "one"), pinned(b"22", "two")
    fetch(source(f"{origin.url}/a", f"{origin.url}/b", files=files), folder, None)
    assert origin.paths == ["/a/one", "/a/two", "/b/two"]
    assert holds_exactly(folder, one=b"1", two=b"22")


# --- Nothing unverified has the final name -------------------------------------------------------


def test_a_file_is_renamed_only_after_it_was_verified(
    origin: Origin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watching(path: Path, file: SourceFile) -> str | None:
        seen.append(path.name)
        assert not (folder / NAME).exists()
        assert path.read_bytes() == DATA
        return verify(path, file)

    monkeypatch.setattr(sources, "verify", watching)
    fetch(source(f"{origin.url}/a"), folder, None)
    assert seen == ["data.bin.part"]
    assert holds_exactly(folder, data_bin=DATA)


BAD = {
    "another hash": (DATA[:-1] + b"?", "has sha256 [0-9a-f]{64}, not [0-9a-f]{64}"),
    "too short": (DATA[:-1], "is cut short: 599,999 of 600,000 bytes"),
    "too long": (DATA + b"?", "has 600,001 bytes instead of 600,000"),
    "nothing": (b"", "is cut short: 0 of 600,000 bytes"),
    "a page": (PAGE, f"is an HTML page of {len(PAGE)} bytes, not data"),
    "an old page": (b"<HTML><body>moved", "is an HTML page of 17 bytes, not data"),
}


@pytest.mark.parametrize(("content", "problem"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("scheme", ["http", "folder"])
def test_what_is_not_the_pinned_file_is_described_and_not_kept(
    origin: Origin, folder: Path, tmp_path: Path, content: bytes, problem: str, scheme: str
) -> None:
    origin.files["/a/data.bin"] = content
    (tmp_path / NAME).write_bytes(content)
    address = f"{origin.url}/a" if scheme == "http" else str(tmp_path)
    with pytest.raises(UserError, match=f"{address}/data.bin {problem}"):
        fetch(source(address), folder, None)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("content", "problem"), BAD.values(), ids=BAD.keys())
def test_after_a_bad_copy_the_next_address_is_asked(
    origin: Origin, folder: Path, content: bytes, problem: str
) -> None:
    origin.files["/a/data.bin"] = content
    fetch(source(f"{origin.url}/a", f"{origin.url}/b"), folder, None)
    assert origin.requests == [("/a/data.bin", None), ("/b/data.bin", None)]
    assert holds_exactly(folder, data_bin=DATA)


def test_a_page_that_says_so_is_not_even_stored(origin: Origin, folder: Path) -> None:
    origin.moods["a"] = ["page"]
    with pytest.raises(UserError, match="answered with an HTML page, not data"):
        fetch(source(f"{origin.url}/a"), folder, None)
    assert list(folder.iterdir()) == []


def test_a_corrupt_file_in_place_is_replaced(origin: Origin, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA[::-1])
    fetch(source(f"{origin.url}/a"), folder, None)
    assert holds_exactly(folder, data_bin=DATA)


def test_a_corrupt_file_in_place_is_kept_if_no_origin_works(origin: Origin, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA[:10])
    origin.files["/a/data.bin"] = DATA[::-1]
    expected = "data.bin: the file in place is cut short: 10 of 600,000 bytes\n.*has sha256"
    with pytest.raises(UserError, match=expected):
        fetch(source(f"{origin.url}/a"), folder, None)
    assert holds_exactly(folder, data_bin=DATA[:10])


def test_a_file_that_verifies_has_no_problem(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(DATA)
    assert verify(path, pinned(DATA)) is None
    assert verify(path, pinned(DATA[:-1] + b"?")) is not None


# --- Interruptions -------------------------------------------------------------------------------


def test_an_interrupted_download_goes_on_where_it_stopped(origin: Origin, folder: Path) -> None:
    origin.moods["a"] = ["cut"]
    fetch(source(f"{origin.url}/a"), folder, None)
    assert holds_exactly(folder, data_bin=DATA)
    first, second = origin.ranges
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= len(DATA) // 2


def test_a_download_may_be_interrupted_more_than_once(origin: Origin, folder: Path) -> None:
    origin.moods["a"] = ["cut", "cut", "cut"]
    fetch(source(f"{origin.url}/a"), folder, None)
    assert holds_exactly(folder, data_bin=DATA)
    starts = [int((asked or "bytes=0-")[6:-1]) for asked in origin.ranges]
    assert len(starts) == 4
    assert starts == sorted(set(starts))


def test_a_server_that_cannot_resume_sends_the_file_anew(origin: Origin, folder: Path) -> None:
    origin.moods["a"] = ["cut", "whole"]
    fetch(source(f"{origin.url}/a"), folder, None)
    assert len(origin.requests) == 2
    assert holds_exactly(folder, data_bin=DATA)


def test_the_next_run_goes_on_where_this_one_stopped(origin: Origin, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / f"{NAME}.part").write_bytes(DATA[:1000])
    fetch(source(f"{origin.url}/a"), folder, None)
    assert origin.requests == [("/a/data.bin", "bytes=1000-")]
    assert holds_exactly(folder, data_bin=DATA)


def test_a_part_is_begun_anew_by_a_server_that_ignores_ranges(
    origin: Origin, folder: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / f"{NAME}.part").write_bytes(DATA[:1000])
    origin.moods["a"] = ["whole"]
    fetch(source(f"{origin.url}/a"), folder, None)
    assert holds_exactly(folder, data_bin=DATA)


@pytest.mark.parametrize("length", [1, 1000, len(DATA), len(DATA) + 5])
def test_a_part_of_something_else_does_not_spoil_the_only_address(
    origin: Origin, folder: Path, length: int
) -> None:
    folder.mkdir(parents=True)
    (folder / f"{NAME}.part").write_bytes(b"?" * length)
    fetch(source(f"{origin.url}/a"), folder, None)
    assert holds_exactly(folder, data_bin=DATA)


def test_a_part_goes_once_the_file_is_in_place(origin: Origin, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    (folder / f"{NAME}.part").write_bytes(DATA[:1000])
    fetch(source(f"{origin.url}/a"), folder, None)
    assert origin.requests == []
    assert holds_exactly(folder, data_bin=DATA)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_is_busy_twice_is_asked_a_third_time(
    origin: Origin, folder: Path, status: int
) -> None:
    origin.moods["a"] = [status, status]
    fetch(source(f"{origin.url}/a", f"{origin.url}/b"), folder, None)
    assert origin.paths == ["/a/data.bin"] * 3
    assert holds_exactly(folder, data_bin=DATA)


def test_a_server_that_stays_busy_is_given_up(origin: Origin, folder: Path) -> None:
    origin.moods["a"] = [503] * 100
    fetch(source(f"{origin.url}/a", f"{origin.url}/b"), folder, None)
    assert origin.paths == ["/a/data.bin"] * sources.ATTEMPTS + ["/b/data.bin"]
    origin.moods["b"] = [503] * 100
    (folder / NAME).unlink()
    with pytest.raises(UserError, match=r"b/data.bin is not reachable \(HTTP 503\)"):
        fetch(source(f"{origin.url}/b"), folder, None)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_server_that_refuses_is_not_asked_again(
    origin: Origin, folder: Path, status: int
) -> None:
    origin.moods["a"] = [status]
    fetch(source(f"{origin.url}/a", f"{origin.url}/b"), folder, None)
    assert origin.paths == ["/a/data.bin", "/b/data.bin"]
    origin.moods["a"] = [status]
    (folder / NAME).unlink()
    with pytest.raises(UserError, match=f"a/data.bin answered HTTP {status}"):
        fetch(source(f"{origin.url}/a"), folder, None)
    assert list(folder.iterdir()) == []


def test_pauses_between_attempts_double(
    origin: Origin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(sources, "BACK_OFF_SECONDS", 1.0)
    monkeypatch.setattr(sources.time, "sleep", pauses.append)
    origin.moods["a"] = [503, 503, 503]
    fetch(source(f"{origin.url}/a"), folder, None)
    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("content", [DATA, gzip.compress(DATA, mtime=0)], ids=["not", "gzip"])
def test_a_server_that_claims_a_transfer_compression_still_gives_the_stored_bytes(
    origin: Origin, folder: Path, content: bytes
) -> None:
    origin.files["/a/data.bin"] = content
    origin.moods["a"] = ["gzip"] * 100  # as some servers do for names that end in .gz
    fetch(source(f"{origin.url}/a", files=(pinned(content),)), folder, None)
    assert len(origin.requests) == 1
    assert holds_exactly(folder, data_bin=content)


def test_a_length_that_a_proxy_has_repeated_is_no_harm(origin: Origin, folder: Path) -> None:
    origin.moods["a"] = ["twice"]
    fetch(source(f"{origin.url}/a"), folder, None)
    assert len(origin.requests) == 1
    assert holds_exactly(folder, data_bin=DATA)


# --- What people are told ------------------------------------------------------------------------


def test_unreachable_data_are_explained_so_that_they_can_be_provided(folder: Path) -> None:
    files = pinned(DATA, "images.gz"), pinned(b"labels", "labels.gz")
    with pytest.raises(UserError) as found:
        fetch(source("http://127.0.0.1:9/mnist", "/no/such", files=files), folder, None)
    lines = str(found.value).splitlines()
    unreachable = "http://127.0.0.1:9/mnist/images.gz is not reachable (ConnectionError)"
    assert lines[0] == "The raw data for mnist could not be had."
    assert f"  images.gz: {unreachable}" in lines
    assert "  labels.gz: /no/such/labels.gz does not exist" in lines
    assert f"Put these files into {folder} (and nothing else):" in lines
    assert f"  images.gz  600,000 bytes  sha256 {files[0].sha256}" in lines
    assert f"  labels.gz  6 bytes  sha256 {files[1].sha256}" in lines
    assert "INFOGAN_MIRROR to a folder or base URL that holds mnist/<file>" in lines[-1]
    assert lines[-1].endswith("it is not set.")


def test_a_server_that_cannot_be_reached_is_asked_once_but_all_its_files_are_listed(
    origin: Origin, folder: Path
) -> None:
    origin.moods["a"] = [503] * 100
    files = pinned(DATA, "images.gz"), pinned(b"labels", "labels.gz")
    with pytest.raises(UserError) as found:
        fetch(source(f"{origin.url}/a", files=files), folder, None)
    assert origin.paths == ["/a/images.gz"] * sources.ATTEMPTS
    told = str(found.value)
    assert f"  images.gz  600,000 bytes  sha256 {files[0].sha256}" in told
    assert f"  labels.gz  6 bytes  sha256 {files[1].sha256}" in told


def test_a_mirror_that_does_not_help_is_named(folder: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    with pytest.raises(UserError) as found:
        fetch(source("/no/such"), folder, str(mirror))
    assert f"  data.bin: {mirror}/mnist/data.bin does not exist" in str(found.value)
    assert str(found.value).endswith(f"it is {mirror}.")


def test_only_missing_files_are_asked_of_people(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"1")
    files = pinned(b"1", "here"), pinned(b"2", "missing")
    with pytest.raises(UserError) as found:
        fetch(source(str(tmp_path), files=files), folder, None)
    assert "  missing  1 bytes" in str(found.value)
    assert "  here  " not in str(found.value)
    assert holds_exactly(folder, here=b"1")


def test_without_any_address_that_is_said(folder: Path) -> None:
    told = r"(?s)data\.bin: no address is.*No address serves them: the head of the parameter file"
    with pytest.raises(UserError, match=told):
        fetch(source(), folder, None)


def test_strangers_in_the_folder_are_refused_by_name(origin: Origin, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("notes.txt", "train.zip", "data.bin.part", ".gitkeep"):
        (folder / name).write_bytes(b"")
    expected = "mnist holds notes.txt, train.zip, which the source does not list; move such files"
    with pytest.raises(UserError, match=expected):
        fetch(source(f"{origin.url}/a"), folder, None)
    assert origin.requests == []


def test_a_kept_empty_folder_has_no_strangers(origin: Origin, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".gitkeep").touch()
    fetch(source(f"{origin.url}/a"), folder, None)
    assert (folder / NAME).read_bytes() == DATA


# --- Two at once ---------------------------------------------------------------------------------


def test_threads_that_fetch_one_folder_ask_once_and_all_succeed(
    origin: Origin, folder: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(fetch, source(f"{origin.url}/a"), folder, None) for _ in range(4)]
    assert [call.result() for call in calls] == [None] * 4
    assert origin.paths == ["/a/data.bin"]
    assert holds_exactly(folder, data_bin=DATA)


FETCH = """
import sys
from pathlib import Path
from infogan.options import Source
from infogan.sources import fetch
fetch(Source.model_validate_json(sys.argv[1]), Path(sys.argv[2]), None)
"""


def test_processes_that_fetch_one_folder_ask_once_and_both_succeed(
    origin: Origin, folder: Path
) -> None:
    wanted = source(f"{origin.url}/a").model_dump_json()
    command = [sys.executable, "-c", FETCH, wanted, str(folder)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ) for _ in range(2)]
    told = [process.communicate()[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert origin.paths == ["/a/data.bin"]
    assert holds_exactly(folder, data_bin=DATA)


# --- Samples, what people bring, and files without a published length ----------------------------


def sampled(*, allow: bool, name: str = NAME, addresses: tuple[str, ...] = ()) -> Source:
    """The whole file, and a sample of another or the same name."""
    return Source(
        files=(pinned(DATA),),
        addresses=addresses,
        samples=(pinned(b"sample", name),),
        allow_partial=allow,
    )


def mirror_with(tmp_path: Path, **files: bytes) -> str:
    below = tmp_path / "mirror" / "mnist"
    below.mkdir(parents=True)
    for name, content in files.items():
        (below / name.replace("_", ".")).write_bytes(content)
    return str(tmp_path / "mirror")


@pytest.mark.parametrize("name", [NAME, "sample.bin"])
def test_a_sample_will_do_where_a_part_is_allowed(
    origin: Origin, folder: Path, tmp_path: Path, name: str
) -> None:
    mirror = mirror_with(tmp_path, **{name.replace(".", "_"): b"sample"})
    fetch(sampled(allow=True, name=name, addresses=(f"{origin.url}/a",)), folder, mirror)
    assert holds_exactly(folder, **{name.replace(".", "_"): b"sample"})
    assert origin.requests == []


@pytest.mark.parametrize("name", [NAME, "sample.bin"])
def test_a_sample_is_never_taken_for_the_whole(
    origin: Origin, folder: Path, tmp_path: Path, name: str
) -> None:
    mirror = mirror_with(tmp_path, **{name.replace(".", "_"): b"sample"})
    fetch(sampled(allow=False, name=name, addresses=(f"{origin.url}/a",)), folder, mirror)
    assert holds_exactly(folder, data_bin=DATA)


def test_the_whole_in_place_is_not_replaced_by_a_sample(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    fetch(sampled(allow=True), folder, mirror_with(tmp_path, data_bin=b"sample"))
    assert holds_exactly(folder, data_bin=DATA)


def test_without_the_sample_the_whole_is_fetched(origin: Origin, folder: Path) -> None:
    fetch(sampled(allow=True, name="s.bin", addresses=(f"{origin.url}/a",)), folder, None)
    assert holds_exactly(folder, data_bin=DATA)


def test_a_sample_in_place_is_no_stranger_but_no_help_either(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "sample.bin").write_bytes(b"sample")
    with pytest.raises(UserError, match=r"data\.bin: no address is left"):
        fetch(sampled(allow=False, name="sample.bin"), folder, None)


def test_an_unpacked_folder_stands_in_for_its_archive(folder: Path) -> None:
    file = SourceFile(name="images.zip", md5="0" * 32, unpacked="images")
    with pytest.raises(UserError, match=r"or the unpacked folder images"):
        fetch(source(files=(file,)), folder, None)
    (folder / "images").mkdir()
    fetch(source(files=(file,)), folder, None)


def test_a_file_without_published_length_is_known_by_its_md5(origin: Origin, folder: Path) -> None:
    right = SourceFile(name=NAME, md5=hashlib.md5(DATA).hexdigest())
    fetch(source(f"{origin.url}/a", files=(right,)), folder, None)
    assert holds_exactly(folder, data_bin=DATA)
    wrong = SourceFile(name=NAME, md5="0" * 32)
    with pytest.raises(UserError, match=f"has md5 {hashlib.md5(DATA).hexdigest()}, not 0000"):
        fetch(source(files=(wrong,)), folder, None)


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (DATA, []),  # whole, but the run was killed before it was verified
        (b"?" * len(DATA), [f"bytes={len(DATA)}-", None]),
    ],
)
def test_a_whole_part_without_published_length_is_taken_or_begun_anew(
    origin: Origin, folder: Path, part: bytes, asked: list[str | None]
) -> None:
    folder.mkdir(parents=True)
    (folder / f"{NAME}.part").write_bytes(part)
    file = SourceFile(name=NAME, md5=hashlib.md5(DATA).hexdigest())
    fetch(source(f"{origin.url}/a", files=(file,)), folder, None)
    assert origin.ranges == asked
    assert holds_exactly(folder, data_bin=DATA)


def test_a_cut_connection_is_continued_where_no_length_is_published(
    origin: Origin, folder: Path
) -> None:
    origin.moods["a"] = ["cut", "cut"]
    file = SourceFile(name=NAME, md5=hashlib.md5(DATA).hexdigest())
    fetch(source(f"{origin.url}/a", files=(file,)), folder, None)
    assert origin.ranges == [None, "bytes=300000-", "bytes=450000-"]
    assert holds_exactly(folder, data_bin=DATA)


def test_a_mirror_may_be_below_the_home_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mirror" / "mnist").mkdir(parents=True)
    (tmp_path / "mirror" / "mnist" / NAME).write_bytes(DATA)
    fetch(source(), folder, "~/mirror")
    assert holds_exactly(folder, data_bin=DATA)


def test_a_mirror_may_keep_files_in_a_folder_of_its_own(folder: Path, tmp_path: Path) -> None:
    below = tmp_path / "mirror" / "mnist" / "as" / "published"
    below.mkdir(parents=True)
    (below / NAME).write_bytes(DATA)
    wanted = source("mirror:as/published")
    fetch(wanted, folder, str(tmp_path / "mirror"))
    assert holds_exactly(folder, data_bin=DATA)
    (folder / NAME).unlink()
    with pytest.raises(UserError, match=r"data\.bin: no address is left to ask"):
        fetch(wanted, folder, None)


def test_what_a_person_brings_stays_where_it_is(folder: Path, tmp_path: Path) -> None:
    brought = source(files=()).model_copy(update={"path": str(tmp_path)})
    fetch(brought, folder, None)
    assert holds_exactly(folder)
    for path, told in (
        ("nowhere", "where there is nothing"),
        ("~nobody-of-this-name/x", "but there is no user 'nobody-of-this-name'"),
    ):
        with pytest.raises(UserError, match=f"source.path is '{path}', {told}"):
            fetch(brought.model_copy(update={"path": path}), folder, None)


def test_a_folder_without_listed_files_is_a_persons_own(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "holiday.jpg").write_bytes(b"1")
    fetch(source(files=()), folder, None)
    assert holds_exactly(folder, holiday_jpg=b"1")


def test_a_file_address_is_decoded(folder: Path, tmp_path: Path) -> None:
    spaced = tmp_path / "a b"
    spaced.mkdir()
    (spaced / NAME).write_bytes(DATA)
    fetch(source(spaced.as_uri()), folder, None)
    assert holds_exactly(folder, data_bin=DATA)


def test_a_folder_in_place_of_a_file_does_not_end_the_search(
    origin: Origin, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "mirror" / "mnist" / NAME).mkdir(parents=True)
    fetch(source(f"{origin.url}/a"), folder, str(tmp_path / "mirror"))
    assert holds_exactly(folder, data_bin=DATA)
