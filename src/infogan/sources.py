"""Raw files, verified: from the folder itself, a mirror, or public addresses, in that order.

Nothing unverified ever bears a file's final name: data arrive in ``NAME.part``, are compared with
the pinned length and sha256, and only then renamed. An interrupted download goes on where it
stopped.
"""

import importlib.resources
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from infogan.errors import UserError
from infogan.files import digest
from infogan.options import Source, SourceFile

MIRROR_VARIABLE = "INFOGAN_MIRROR"
ATTEMPTS = 4  # per address
TIMEOUT_SECONDS = (10.0, 30.0)  # to connect, and between two blocks
BACK_OFF_SECONDS = 1.0  # doubled after each failed attempt

_BLOCK = 1 << 16
_ABSENT = "does not exist"
_logger = logging.getLogger(__name__)


class _Unusable(Exception):
    """The origin does not give the file; the message says why."""


class _Unreachable(_Unusable):
    """It gave nothing in several attempts, and will not give the next file either."""


class _Interrupted(Exception):
    """The connection failed; trying again may help."""


_INTERRUPTIONS = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.HTTPError,  # while reading, below requests
    _Interrupted,
)


def fetch(source: Source, folder: Path, mirror: str | None) -> None:
    """Make ``folder`` hold exactly the source's files, each with its pinned content.

    ``mirror`` is a folder or base URL that holds ``<folder name>/<file>``. If a part of the data
    will do, the samples are tried first, in the folder and the mirror. What a person brings
    (``source.path``) stays where it is, and nothing is put into the folder. Two processes may call
    this for one folder: the second waits. UserError lists what is missing and how to provide it.
    """
    own = own_path(source)
    if own is not None and not own.exists():
        raise UserError(f"source.path is {source.path!r}, where there is nothing.")
    folder.mkdir(parents=True, exist_ok=True)
    if own is not None:
        return
    with exclusive(folder):
        _refuse_strangers(source, folder)
        origins = _origins(source, folder.name, mirror)
        if source.allow_partial and source.samples:
            nearby = [origin for origin in origins if mirror and origin.startswith(mirror)]
            if not _missing(source.samples, source, folder, nearby):
                return
        failures = _missing(source.files, source, folder, origins)
        if failures:
            raise UserError(_explain(source, folder, mirror, failures))


def own_path(source: Source) -> Path | None:
    """The file or folder that a person brings, if any."""
    if source.path is None:
        return None
    try:
        return Path(source.path).expanduser()
    except RuntimeError:
        user = source.path.partition("/")[0]
        raise UserError(
            f"source.path is {source.path!r}, but there is no user {user.removeprefix('~')!r}; "
            f"for a folder of that name write ./{user}."
        ) from None


def _missing(
    files: Sequence[SourceFile], source: Source, folder: Path, origins: list[str]
) -> dict[str, list[str]]:
    """What could not be had, and why."""
    failures: dict[str, list[str]] = {}
    for file in files:
        # A file of the whole data set will do where a sample of the same name would, too.
        others = [other for other in (*source.files, *source.samples) if other.name == file.name]
        accepted = others if source.allow_partial else [file]
        reasons = _fetch_file(file, accepted, folder, origins)
        if reasons is not None:
            failures[file.name] = reasons
    return failures


def verify(path: Path, file: SourceFile) -> str | None:
    """Why a file is not the pinned one, or None if it is."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(256).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return f"is an HTML page of {size:,} bytes, not data"
    if file.bytes is not None and size < file.bytes:
        return f"is cut short: {size:,} of {file.bytes:,} bytes"
    if file.bytes is not None and size > file.bytes:
        return f"has {size:,} bytes instead of {file.bytes:,}"
    for name, pinned in (("sha256", file.sha256), ("md5", file.md5)):
        found = digest(path, name) if pinned else None
        if found != pinned:
            return f"has {name} {found}, not {pinned}"
    return None


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Wait until no other process writes into a raw folder, and keep others waiting."""
    with FileLock(folder.parent / f".{folder.name}.lock"):
        yield


def _refuse_strangers(source: Source, folder: Path) -> None:
    """UserError if the folder holds what the source does not list."""
    if not source.files:
        return  # the folder is a person's own
    files = (*source.files, *source.samples)
    expected = {file.name for file in files}
    expected |= {f"{name}.part" for name in expected}
    expected |= {file.unpacked for file in files if file.unpacked}
    strangers = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in expected and not path.name.startswith(".")  # what file browsers leave
    )
    if strangers:
        raise UserError(
            f"{folder} holds {', '.join(strangers)}, which the source does not list; "
            "move such files elsewhere, since the folder is versioned as a whole."
        )


def _origins(source: Source, dataset: str, mirror: str | None) -> list[str]:
    """Where to ask, in order: the mirror, then the addresses, of which ``mirror:`` are in it."""
    below = f"{mirror.rstrip('/')}/{dataset}" if mirror else None
    origins = [below] if below else []
    for address in source.addresses:
        if not address.startswith("mirror:"):
            origins.append(address.rstrip("/"))
        elif below:
            origins.append(f"{below}/{address.removeprefix('mirror:').rstrip('/')}")
    return origins


def _fetch_file(
    file: SourceFile, accepted: Sequence[SourceFile], folder: Path, origins: list[str]
) -> list[str] | None:
    """None if the file is in place and verified, else why each origin failed.

    An origin that cannot be reached is taken from the list: it has cost enough time.
    """
    target = folder / file.name
    part = folder / f"{file.name}.part"
    reasons = []
    if file.unpacked and (folder / file.unpacked).is_dir():
        return None
    if target.exists():
        problems = [verify(target, each) for each in accepted]
        if None in problems:
            part.unlink(missing_ok=True)
            return None
        _logger.warning("%s %s; looking for a good copy", target, problems[0])
        reasons.append(f"the file in place {problems[0]}")
    for origin in list(origins):
        address = f"{origin}/{file.name}"
        try:
            _bring(address, file, part)
        except _Unusable as error:
            # A mirror need not have everything.
            level = logging.DEBUG if str(error) == _ABSENT else logging.WARNING
            _logger.log(level, "%s: %s", address, error)
            reasons.append(f"{address} {error}")
            if isinstance(error, _Unreachable):
                origins.remove(origin)
            continue
        part.replace(target)
        return None
    return reasons


def _bring(address: str, file: SourceFile, part: Path) -> None:
    """Leave the verified file in ``part``, or raise _Unusable."""
    if address.startswith(("http://", "https://")):
        continued = part.exists()
        pinned = file.sha256 or file.md5
        if continued and pinned and verify(part, file) is None:
            return  # a run was killed before it gave the file its name
        _download(address, file, part)
        if continued and verify(part, file):
            # What lay there was of another file, or damaged: once more, from the beginning.
            part.unlink()
            _download(address, file, part)
    else:
        _copy(address, part)
    problem = verify(part, file)
    if problem:
        part.unlink()
        raise _Unusable(problem)


def _copy(address: str, part: Path) -> None:
    """Copy from a folder or a package; what is wrong there is _Unusable."""
    with ExitStack() as stack:
        if address.startswith("package:"):
            package, _, inside = address.removeprefix("package:").partition("/")
            try:
                found = importlib.resources.files(package) / inside
            except ModuleNotFoundError as error:
                raise _Unusable(
                    f"needs the package {error.name}, which is not installed"
                ) from None
            origin = stack.enter_context(importlib.resources.as_file(found))
        elif address.startswith("file://"):
            origin = Path(url2pathname(urlsplit(address).path))
        else:
            origin = Path(address).expanduser()
        try:
            content = stack.enter_context(origin.open("rb"))
        except (FileNotFoundError, NotADirectoryError):
            raise _Unusable(_ABSENT) from None
        except OSError as error:
            raise _Unusable(f"cannot be read ({error.strerror})") from None
        with part.open("wb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)


def _download(url: str, file: SourceFile, part: Path) -> None:
    """Download to ``part``, continuing it if it exists; several attempts with growing pauses."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(BACK_OFF_SECONDS * 2 ** (attempt - 1))
        try:
            return _download_once(url, file, part)
        except _INTERRUPTIONS as error:
            problem = f"is not reachable ({_short(error)})"
        except requests.RequestException as error:
            raise _Unusable(f"cannot be downloaded ({_short(error)})") from None
    raise _Unreachable(problem)


def _download_once(url: str, file: SourceFile, part: Path) -> None:
    done = part.stat().st_size if part.exists() else 0
    if file.bytes is not None and done >= file.bytes:  # complete already, or of another file
        part.unlink()
        done = 0
    # The length and the hash are those of the bytes as stored, so no transfer compression.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code >= 500 or response.status_code == 429:
            raise _Interrupted(f"HTTP {response.status_code}")
        if response.status_code == 416 and done:  # there is no more of it; so begin anew
            part.unlink()
            raise _Interrupted("HTTP 416")
        if response.status_code >= 400:
            raise _Unusable(f"answered HTTP {response.status_code}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise _Unusable("answered with an HTML page, not data")
        resumes = response.status_code == 206
        sent = response.raw.length_remaining or 0  # 0: the server does not say it, or no number
        with (
            part.open("ab" if resumes else "wb") as stream,
            tqdm(
                total=file.bytes,
                initial=done if resumes else 0,
                unit="B",
                unit_scale=True,
                desc=file.name,
            ) as bar,
        ):
            # The bytes as sent, whatever compression the headers claim: those are pinned.
            for block in response.raw.stream(_BLOCK, decode_content=False):
                stream.write(block)
                bar.update(len(block))
    size = part.stat().st_size
    whole = sent + done if resumes else sent
    if size < whole and (file.bytes is None or size < file.bytes):
        raise _Interrupted(f"the connection ended after {size:,} of {whole:,} bytes")


def _short(error: Exception) -> str:
    return str(error) if isinstance(error, _Interrupted) else type(error).__name__


def _explain(
    source: Source, folder: Path, mirror: str | None, failures: dict[str, list[str]]
) -> str:
    lines = [f"The raw data for {folder.name} could not be had."]
    for name, reasons in failures.items():
        lines += [f"  {name}: {reason}" for reason in reasons or ["no address is left to ask"]]
    lines += [f"Put these files into {folder} (and nothing else):"]
    lines += [_description(file) for file in source.files if file.name in failures]
    if not source.addresses:
        lines += ["No address serves them: the head of the parameter file says whose they are."]
    now = f"it is {mirror}" if mirror else "it is not set"
    lines += [
        f"or set {MIRROR_VARIABLE} to a folder or base URL that holds {folder.name}/<file>; {now}."
    ]
    return "\n".join(lines)


def _description(file: SourceFile) -> str:
    facts = [
        f"{file.bytes:,} bytes" if file.bytes else "",
        f"sha256 {file.sha256}" if file.sha256 else "",
        f"md5 {file.md5}" if file.md5 else "",
        f"(or the unpacked folder {file.unpacked})" if file.unpacked else "",
    ]
    return "  ".join(["", file.name, *filter(None, facts)])
