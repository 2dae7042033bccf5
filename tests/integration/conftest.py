"""A copy of the project in a folder of its own, the commands people type in it, and a browser."""

import gzip
import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from browser import SCREENSHOTS, Tab, chromium, open_tab
from filelock import FileLock
from kedro_project import LONG, ROOT, Project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def copy_project(folder: Path) -> Path:
    for name in ("conf", "src"):
        # Compiled modules are copied, too, since every process would else make them again; but not
        # while another worker writes one.
        ignored = shutil.ignore_patterns("*.pyc.*", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "conf" / "local").mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Project]:
    def make(*, tracked: bool) -> Project:
        folder = copy_project(tmp_path_factory.mktemp("project"))
        return Project(folder, {} if tracked else {"INFOGAN_TRACKING": "0"})

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """Untracked: half the time of a run is MLflow's start."""
    return make_project(tracked=False)


@pytest.fixture(scope="session")
def once(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Data that a command leaves: one of the processes that test makes them, all copy them."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name: str, *command: str, of: Path | None = None) -> Path:
        with FileLock(root / f".{name}.lock"):
            if not (root / name).exists():
                project = make_project(tracked=False)
                if of:
                    shutil.copytree(of, project.data())
                done = project.run(*command)
                assert done.returncode == 0, done.stderr
                shutil.move(project.data(), root / name)
        return root / name

    return made


@pytest.fixture(scope="session")
def digits(once: Callable[..., Path]) -> Path:
    """The data folder of ingested digits, not to be changed."""
    return once("ingested", "--pipelines=digits.ingestion")


@pytest.fixture(scope="session")
def uninterrupted(once: Callable[..., Path], digits: Path) -> Path:
    """The data folder after a training that nothing disturbed, not to be changed."""
    return once("uninterrupted", "--pipelines=digits.training", LONG, of=digits)


@pytest.fixture(scope="session")
def make_ingested(
    make_project: Callable[..., Project], digits: Path, empty_mlflow: Path
) -> Callable[..., Project]:
    """Projects that have their digits, and a store; both are made once and then copied."""

    def make(*, tracked: bool) -> Project:
        project = make_project(tracked=tracked)
        shutil.copytree(digits, project.data())
        if tracked:
            shutil.copy(empty_mlflow, project.folder)
        return project

    return make


@pytest.fixture
def ingested(make_ingested: Callable[..., Project]) -> Project:
    return make_ingested(tracked=False)


@pytest.fixture(scope="session")
def prepared(make_project: Callable[..., Project], once: Callable[..., Path]) -> Project:
    """A project whose digits are ingested and trained, to copy from and not to change."""
    project = make_project(tracked=False)
    shutil.copytree(once("prepared", "--pipelines=digits"), project.data())
    return project


@pytest.fixture
def trained(prepared: Project, tmp_path: Path) -> Project:
    """A copy of it that a test may spoil."""
    shutil.copytree(prepared.folder, tmp_path / "project")
    return Project(tmp_path / "project", dict(prepared.variables))


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny_mnist(project: Project) -> Project:
    """A mirror with a tiny MNIST in the true format, pinned in the smoke environment."""
    random = np.random.default_rng(0)
    mirror = project.folder / "mirror" / "mnist"
    mirror.mkdir(parents=True)
    files = []
    for prefix, count in (("train", 600), ("t10k", 200)):
        contents = {
            f"{prefix}-images-idx3-ubyte.gz": random.integers(0, 256, (count, 28, 28)),
            f"{prefix}-labels-idx1-ubyte.gz": random.integers(0, 10, count),
        }
        for name, array in contents.items():
            content = gzip.compress(idx(array), mtime=0)
            (mirror / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            files.append({"name": name, "bytes": len(content), "sha256": digest})
    path = project.folder / "conf" / "smoke" / "parameters_mnist.yml"
    parameters = yaml.safe_load(path.read_text())
    # A closed port of this machine in place of the public addresses.
    addresses = ["http://127.0.0.1:9/mnist"]
    parameters["mnist"]["source"] = {"files": files, "addresses": addresses}
    path.write_text(yaml.safe_dump(parameters))
    project.variables["INFOGAN_MIRROR"] = str(project.folder / "mirror")
    return project


# Of a module, not of the session: while it lives, playwright's event loop runs in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser: "Browser") -> Iterator[Callable[..., Tab]]:
    """Opens tabs, of a width, a height, dark or light; they are closed after the test."""
    tabs: list[Tab] = []

    def opened(**looks: int) -> Tab:
        tabs.append(open_tab(browser, **looks))
        return tabs[-1]

    yield opened
    for each in tabs:
        each.page.context.close()


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[["Page", str], Path]:
    """Keeps the whole page as NAME.png in the folder INFOGAN_SCREENSHOTS, or else the test's."""
    folder = Path(os.environ.get(SCREENSHOTS) or tmp_path)

    def keep(page: "Page", name: str) -> Path:
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        return folder / f"{name}.png"

    return keep
