"""The model that a run leaves in MLflow: what it carries, what it answers, which one is best."""

import base64
import json
import math
import pickle
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from infogan import registry
from infogan.datasets.values import Rows
from infogan.registry import CARRIED, Candidate, carry, publish, requirements, save, score
from infogan.tracking import open_run
from infogan.trained import Trained

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]

MATCHED = {
    "code": "c1",
    "class_of_category": [5, -1, 2],
    "test_table": [[1]],
    "transforms": ["center_crop 8x8"],
}


def candidate(path: Path, **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "name": "infogan-toy",
        "dataset": "toy",
        "weights": path,
        "categories": MATCHED,
        "metrics": {"error_one_to_one": 0.2},
        "test_sha256": "abc",
        "competes": True,
    }
    return Candidate(**{**fields, **changes})


# --- What is carried -----------------------------------------------------------------------------


def test_the_copy_imports_nothing_of_the_project(tmp_path: Path) -> None:
    package = carry(tmp_path)
    for name in CARRIED:
        text = (package / f"{name}.py").read_text()
        modules = re.findall(r"^\s*(?:from|import) (infogan[\w.]*)", text, re.MULTILINE)
        for module in modules:
            parts = module.split(".")
            assert parts[0] == package.name
            assert (package / "/".join(parts[1:])).with_suffix(".py").exists()


def test_the_name_of_the_copy_is_that_of_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = carry(tmp_path / "1").name
    assert carry(tmp_path / "2").name == one
    monkeypatch.setattr(registry, "CARRIED", CARRIED[:-1])
    assert carry(tmp_path / "3").name != one


def test_requirements_are_pinned_and_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry, "version", lambda name: "2.6+cu124" if name == "torch" else version(name)
    )
    assert "torch==2.6" in requirements()
    assert all(re.fullmatch(r"[a-z]+==[\d.]+\w*", line) for line in requirements())
    assert not {"kedro", "dvc", "torchvision"} & {
        line.partition("=")[0] for line in requirements()
    }


# --- The model as MLflow loads it ----------------------------------------------------------------


@pytest.fixture
def loaded(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[mlflow.pyfunc.PyFuncModel]:
    """Loaded where this project does not exist and nothing may be unpickled."""
    save(tmp_path / "logged", candidate(saved_model))
    for name in [name for name in sys.modules if name.startswith("infogan")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "infogan", None)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    before = list(sys.path)
    yield mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    sys.path[:] = before


def test_a_model_generates_and_reads_without_the_project(
    loaded: mlflow.pyfunc.PyFuncModel, saved_model: Path
) -> None:
    here = Trained.load(saved_model, MATCHED)
    frame = pd.DataFrame({"c1": [0, None], "digit": [None, 2], "c2": [0.5, 0.5]})
    images = loaded.predict(frame, params={"task": "generate", "seed": 3, "count": 2})
    wanted = here.generate([{"c1": 0, "c2": 0.5}, {"c1": 2, "c2": 0.5}], 2, 3)
    assert np.array_equal(images, wanted)

    codes = loaded.predict(images)
    columns = here.encode(here.as_pixels(wanted))
    assert list(codes.columns) == list(columns)
    np.testing.assert_allclose(codes["c2"], columns["c2"], rtol=1e-5)
    assert loaded.metadata.signature.outputs.input_names() == list(columns)
    assert set(codes["class"]) <= {5, None, 2}


def test_files_are_read_from_paths_and_from_base64(
    loaded: mlflow.pyfunc.PyFuncModel, tmp_path: Path
) -> None:
    from PIL import Image

    path = tmp_path / "image.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    by_path = loaded.predict(pd.DataFrame({"path": [str(path)] * 2}))
    content = base64.b64encode(path.read_bytes()).decode()
    by_content = loaded.predict([{"image": content}, {"image": content}])
    assert by_path["path"].tolist() == [str(path)] * 2
    assert by_path.drop(columns="path").equals(by_content)


def test_a_raw_image_is_prepared_as_for_the_training(
    loaded: mlflow.pyfunc.PyFuncModel, tmp_path: Path
) -> None:
    from PIL import Image

    raw = np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)
    Image.fromarray(raw).save(tmp_path / "raw.png")
    read = loaded.predict([{"path": str(tmp_path / "raw.png")}]).drop(columns="path")
    assert read.equals(loaded.predict(raw[None, 11:19, 6:14]))


@pytest.mark.parametrize(
    ("given", "params", "words"),
    [
        (np.zeros((2, 3, 3)), {}, r"images are \(2, 3, 3\), but this model reads"),
        (np.full((1, 8, 8), math.nan), {}, "a pixel is NaN"),
        (np.zeros((10_000, 8, 8)), {}, "10,000 images are asked for at once, but at most 1,000"),
        ("hello", {}, "no images"),
        ([[1, 2], [3]], {}, "different lengths"),
        (None, {}, "no images"),
        (pd.DataFrame({"path": ["/dev/zero"]}), {}, "/dev/zero is not a file"),
        (pd.DataFrame({"path": [None]}), {}, "must be the path"),
        (pd.DataFrame({"path": []}), {}, "no image among"),
        (pd.DataFrame({"c1": [1]}), {}, "the columns are c1, but to encode"),
        ([{"image": "???"}], {}, "in base64"),
        ([{"image": "aGVsbG8="}], {}, "the content of 'image' is no image"),
        ({"c1": [1, 2], "c2": [1]}, {}, "not lists of the same length"),
        ([{"c1": 3}], {"task": "generate"}, "c1 is 3, but its categories are 0 to 2"),
        ([{"c9": 3}], {"task": "generate"}, "'c9' is not a code of this model: it has c1"),
        (np.zeros((2, 2)), {"task": "generate"}, "a row of codes"),
        (pd.DataFrame({"c1": []}), {"task": "generate"}, "an empty row will do"),
        ([{}], {"task": "generate", "count": 1001}, "1,001 images are asked for"),
        ([{}] * 3, {"task": "generate", "count": 400}, "1,200 images are asked for"),
        ([{}], {"task": "generate", "count": 0}, "at least one"),
        ([{}], {"task": "dance"}, "task is 'dance', but must be encode or generate"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_400(
    loaded: mlflow.pyfunc.PyFuncModel, given: Any, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(MlflowException, match=words) as found:
        loaded.predict(given, params=params)
    error = found.value
    assert error.get_http_status_code() == 400
    error.message = f"Failed to predict data '{given}'. \nError: {error.message}"  # the server
    assert error.message.count("\n") == 0
    assert re.search(words, error.message)


@pytest.mark.parametrize("given", [None, {}, [{}]])
def test_no_codes_at_all_are_all_drawn(loaded: mlflow.pyfunc.PyFuncModel, given: Any) -> None:
    images = loaded.predict(given, params={"task": "generate", "count": 2})
    assert images.shape == (2, 1, 8, 8)


def test_classes_that_have_names_are_told_by_them(saved_model: Path, tmp_path: Path) -> None:
    named = {**MATCHED, "class_names": ["a", "b", "cat", "d", "e", "fox"]}
    save(tmp_path / "logged", candidate(saved_model, categories=named))
    model = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    made = {"task": "generate"}
    by_name, by_code = (model.predict([row], params=made) for row in ({"class": "cat"}, {"c1": 2}))
    assert np.array_equal(by_name, by_code)
    codes = model.predict(np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8))
    assert set(codes["class"]) <= {"fox", None, "cat"}
    (kind,) = (each for each in model.metadata.signature.outputs if each.name == "class")
    assert kind.type.name == "string"


def test_the_number_of_images_may_be_raised(saved_model: Path, tmp_path: Path) -> None:
    save(tmp_path / "logged", candidate(saved_model, categories={}))
    model = mlflow.pyfunc.load_model(str(tmp_path / "logged"), model_config={"max_images": 2000})
    codes = model.predict(np.zeros((1500, 8, 8)))
    assert len(codes) == 1500
    assert "class" not in codes.columns


# --- Registered once, and the best ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"error_one_to_one": 0.2, "information_real.c1": 2.0}, ("error_one_to_one", -0.2)),
        (
            {
                "information_real.c1": 1.0,
                "information_real.c2": 2.0,
                "entropy.c1": 2.0,
                "entropy.c2": 4.0,
                "lower_bound.c1": 2.0,
            },
            ("information_real / entropy", 0.5),
        ),
        (
            {"lower_bound.c1": 0.5, "lower_bound.c2": 0.25},
            ("lower_bound, sigma learned", 0.75),
        ),
        (
            {"lower_bound.c1": -0.5, "perfect.c1": -0.2},
            ("lower_bound, sigma fixed", -0.5),
        ),
        ({}, None),
    ],
)
def test_the_score_is_the_first_number_there_is(
    metrics: dict[str, float], expected: tuple[str, float] | None
) -> None:
    assert score(metrics) == expected


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        folder = tmp_path_factory.mktemp("registry")
        shutil.copy(empty_mlflow, folder / "mlflow.db")
        uri = f"sqlite:///{folder}/mlflow.db"
        client = MlflowClient(uri)
        client.create_experiment("toy", (folder / "artifacts").as_uri())
        yield uri
        client._tracking_client.store._dispose_engine()


def test_a_run_has_one_version_and_the_best_is_the_best_of_comparable_ones(
    uri: str, saved_model: Path, tmp_path: Path
) -> None:
    client = MlflowClient(uri)

    def run() -> str:
        return str(open_run(uri, None, "toy", "run", None).run_id)

    def best() -> str | None:
        version = client.get_registered_model("infogan-toy").aliases.get("best")
        return version and str(version)

    def with_error(error: float, **changes: Any) -> Candidate:
        return candidate(saved_model, metrics={"error_one_to_one": error}, **changes)

    # 1. A tiny network, or a part of the data, is registered, but never the best.
    assert publish(client, run(), with_error(0.0, competes=False)) == "1"
    assert best() is None
    # 2. The smallest error is the best, whenever it came.
    second = run()
    assert publish(client, second, with_error(0.2)) == "2"
    assert best() == "2"
    publish(client, run(), with_error(0.3))
    assert best() == "2"
    # 3. A run that is evaluated again keeps its version, and its score is the new one.
    assert publish(client, second, with_error(0.4)) == "2"
    assert best() == "3"
    assert len(client.search_model_versions("name='infogan-toy'")) == 3
    # 4. Other test images begin anew: errors on different images do not compare.
    publish(client, run(), with_error(0.9, test_sha256="other"))
    assert best() == "4"
    publish(client, run(), with_error(0.1))
    assert best() == "5"
    # 5. Of equals the newest is the best.
    publish(client, run(), with_error(0.1))
    publish(client, second, with_error(0.1))
    assert best() == "6"
    # 6. What is no number wins nothing, and is in nobody's way.
    seventh = run()
    assert publish(client, seventh, with_error(math.nan)) == "7"
    assert best() == "6"
    publish(client, seventh, with_error(0.05))
    assert best() == "7"
    publish(client, seventh, with_error(math.nan))
    assert best() == "6"
    publish(client, run(), with_error(math.nan, test_sha256="third"))
    assert best() == "6"
    # The run shows its model, and the model its files.
    outputs = client.get_run(second).outputs.model_outputs
    assert len(outputs) == 1
    assert client.get_model_version("infogan-toy", "2").run_id == second


def test_the_pages_of_a_model_say_what_it_is_and_was_found(uri: str, saved_model: Path) -> None:
    client, tracker = MlflowClient(uri), open_run(uri, None, "toy", "run", None)
    assert tracker.run_id is not None
    tracker.log_params({"model.codes": "c1 categorical 3", "model.noise": "uniform 4"})
    name = "infogan-pages"
    tracker.log_model(candidate(saved_model, name=name, words="error 20.0%"))
    tracker.log_metrics({"eval/error_one_to_one": 0.2, "error": 0.2})

    assert client.get_model_version(name, "1").description == "error 20.0%"
    assert f"--model models:/{name}/latest" in client.get_registered_model(name).description
    (output,) = client.get_run(tracker.run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": name, "version": "1"}]
    assert model.params == {"model.codes": "c1 categorical 3"}
    assert [(each.key, each.value) for each in model.metrics] == [("eval/error_one_to_one", 0.2)]
    points = client.get_metric_history(tracker.run_id, "eval/error_one_to_one")
    assert [point.value for point in points] == [0.2]
    # Evaluated again, it has its new words.
    tracker.log_model(candidate(saved_model, name=name, words="error 10.0%"))
    assert client.get_model_version(name, "1").description == "error 10.0%"


def test_a_registry_that_fails_is_told_and_stops_nothing(
    uri: str,
    saved_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = open_run(uri, None, "toy", "run", None)

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(registry, "publish", fail)
    tracker.log_model(candidate(saved_model))
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "could not be logged" in line
    assert "no space left" in line
    tracker.log_metrics({"error": 1.0})  # the run is still tracked
    assert tracker.run_id is not None
    assert MlflowClient(uri).get_run(tracker.run_id).data.metrics == {"error": 1.0}


def test_only_a_run_that_trained_the_model_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from infogan import tracking
    from infogan.hooks import Tracking
    from infogan.options import TrackingSettings

    given: list[Candidate] = []
    hooks = Tracking()
    hooks._settings = TrackingSettings(
        enabled=True,
        experiment="{dataset}",
        stages=("evaluation",),
        model="infogan-{dataset}",
        best=True,
    )
    values = {
        "toy.record": {"mlflow_run_id": "the run", "alarms": {}},
        "toy.baseline_record": {"alarms": {}},
        "toy.seed_metrics": Rows((), []),
        "toy.categories": {},
        "toy.known_factors": {},
        "toy.card": {
            "splits": {"train": {"sha256": "def"}, "test": {"sha256": "abc"}},
            "source": {},
            "transforms": ["square"],
        },
    }
    hooks._catalog = SimpleNamespace(  # type: ignore[assignment]
        load=values.__getitem__, get=lambda _: SimpleNamespace(path=Path("weights"))
    )

    class One(tracking.Tracker):
        def log_model(self, candidate: Candidate) -> None:
            given.append(candidate)

    for run_id in ("another run", "the run", None):
        tracker = One()
        tracker.run_id = run_id
        monkeypatch.setattr(tracking, "_current", tracker)
        hooks.after_dataset_saved("toy.metrics", {"nmi": 0.1})
    (one,) = given
    assert one.name == "infogan-toy"
    assert one.categories["transforms"] == ["square"]
    assert one.competes
    values["toy.card"]["partial"] = {"images": 1, "of": 2}
    tracker.run_id = "the run"
    hooks.after_dataset_saved("toy.metrics", {})
    assert not given[-1].competes
