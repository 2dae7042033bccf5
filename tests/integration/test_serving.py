"""`mlflow models serve` as the README shows it: what it answers, and what it refuses."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro_project import BIN, ROOT, Project
from mlflow import MlflowClient
from PIL import Image

from infogan.registry import Candidate, publish
from infogan.trained import Trained

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


class Server:
    """A server on a port of its own."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def post(self, body: Any) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/invocations", content, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/ping", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def registered(
    prepared: Project, tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path
) -> Path:
    """A folder with an mlflow.db that holds the digits model of the smoke environment."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("digits", (folder / "artifacts").as_uri())
    run = client.create_run(experiment)
    categories = prepared.data("07_model_output", "digits", "categories.json").read_text()
    publish(
        client,
        run.info.run_id,
        Candidate(
            name="infogan-digits",
            dataset="digits",
            weights=prepared.data("06_models", "digits", "infogan.safetensors"),
            categories=json.loads(categories),
            metrics={"error_one_to_one": 0.2},
            test_sha256="abc",
            competes=True,
        ),
    )
    client._tracking_client.store._dispose_engine()
    return folder


@pytest.fixture(scope="module")
def server(registered: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (command,) = re.findall(
        r"^(\S+=\S+ mlflow models serve .*)$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    command = command.replace("infogan-mnist", "infogan-digits").replace("5001", str(port))
    with (registered / "log").open("w") as log:
        process = subprocess.Popen(
            ["env", *command.split()],
            cwd=registered,
            env=Project(registered).environment()
            | {
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": "",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            server = Server(port)
            deadline = time.monotonic() + 180
            while not server.answers():
                assert process.poll() is None, (registered / "log").read_text()
                assert time.monotonic() < deadline, (registered / "log").read_text()
                time.sleep(0.2)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def readme_requests() -> list[Any]:
    """What the README's curl calls send."""
    found = re.findall(r"-d '(\{.*\})'$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return [json.loads(each) for each in found]


def test_the_calls_of_the_readme_are_answered(
    server: Server, prepared: Project, tmp_path: Path
) -> None:
    generate, encode = readme_requests()
    status, answer = server.post(generate)
    assert status == 200
    images = np.array(answer["predictions"], np.uint8)
    path = prepared.data("06_models", "digits", "infogan.safetensors")
    categories = prepared.data("07_model_output", "digits", "categories.json").read_text()
    model = Trained.load(path, json.loads(categories))
    assert np.array_equal(images, model.generate(generate["dataframe_records"], 1, 0))

    image = tmp_path / "seven.png"
    Image.fromarray(images[0, 0]).save(image)
    encode["dataframe_records"][0]["path"] = str(image)
    status, answer = server.post(encode)
    assert status == 200
    (codes,) = answer["predictions"]
    assert sum(codes[f"c1_p{k}"] for k in range(10)) == pytest.approx(1, abs=1e-5)
    status, answer = server.post({"inputs": images[:1].tolist()})
    assert status == 200
    assert answer["predictions"][0] == {k: v for k, v in codes.items() if k != "path"}


GENERATE = {"task": "generate"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"inputs": np.zeros((2, 3, 3)).tolist()},
            r"images are \(2, 3, 3\), but this model reads",
        ),
        ({"inputs": np.full((1, 8, 8), np.nan).tolist()}, "a pixel is NaN"),
        ({"inputs": np.zeros((10_000, 8, 8)).tolist()}, "10,000 images are asked for"),
        ({"inputs": "hello"}, "these are no images"),
        ({"inputs": [[[1, 2], [3]]]}, "inhomogeneous"),
        ({"dataframe_records": [{"image": "aGVsbG8="}]}, "is no image"),
        ({"dataframe_records": [{"path": "/etc/hostname"}]}, "is no image|is not there"),
        ({"dataframe_records": [{"c1": 99}], "params": GENERATE}, "its categories are 0 to 9"),
        ({"dataframe_records": [{"c9": 1}], "params": GENERATE}, "it has c1 .0 to 9."),
        ({"dataframe_records": [{}], "params": {**GENERATE, "count": 10**9}}, "at most 1,000"),
        (b"no json", "JSON"),
    ],
)
def test_a_bad_request_is_answered_by_a_sentence_and_the_server_lives_on(
    server: Server, body: Any, words: str
) -> None:
    status, answer = server.post(body)
    assert status == 400
    assert re.search(words, answer["message"])
    assert len(answer["message"]) < 300
    status, answer = server.post({"dataframe_records": [{}], "params": GENERATE})
    assert status == 200
    assert np.shape(answer["predictions"]) == (1, 1, 8, 8)


def test_the_python_of_the_documentation_runs_as_shown(
    registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    page = (ROOT / "docs" / "using-a-model.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(registered)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # what it sets ends with the test
    before = mlflow.get_tracking_uri()
    names: dict[str, Any] = {}
    try:
        exec(block, names)
    finally:
        mlflow.set_tracking_uri(before)
    assert names["images"].shape == (6, 1, 8, 8)
    assert len(names["read"]) == 6


def test_the_commands_of_the_readme_work_as_a_person_types_them(
    prepared: Project, registered: Path, tmp_path: Path
) -> None:
    """With a file and with a model of the registry, in a process of their own."""
    environment = prepared.environment() | {"PYTHONPATH": str(prepared.folder / "src")}
    python = [str(BIN / "python"), "-m", "infogan"]

    def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*python, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    command = (ROOT / "README.md").read_text().split("infogan generate ", 1)[1].split("\n", 1)[0]
    command = command.replace("infogan-mnist", "infogan-digits")
    command = command.replace("grid.png", str(tmp_path / "grid.png"))
    done = run("generate", *command.split(), folder=registered)
    assert done.returncode == 0, done.stderr
    assert "50 images, 10 a row" in done.stdout
    assert done.stderr.splitlines() == [
        "Warning: c2 is 2, but it was trained from -1 to 1: beyond, images may be anything."
    ]
    file = "data/smoke/06_models/digits/infogan.safetensors"
    done = run("encode", "--model", file, str(tmp_path / "grid.png"), folder=prepared.folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("path,c1,c1_p0")
    assert "class" in done.stdout
