import json
import logging
import math
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from mlflow import MlflowClient

from infogan import tracking
from infogan.tracking import FLUSH_POINTS, NOTE, MlflowTracker, Tracker, commit, open_run

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # in MLflow

COLUMNS = ("step", "loss_d", "bound.c1")


class Store:
    """A store in one folder: the way to it, and a client of its own to look behind the curtain."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mlflow.db"
        self.uri = f"sqlite:///{self.path}?timeout=7.5"  # an address may have options
        self.artifacts = (folder / "artifacts").as_uri()
        self.client = MlflowClient(self.uri)

    def open(
        self, name: str = "run", resume: str | None = None, experiment: str = "mnist"
    ) -> MlflowTracker:
        tracker = open_run(self.uri, self.artifacts, experiment, name, resume)
        assert isinstance(tracker, MlflowTracker)
        return tracker

    def run(self, tracker: Tracker) -> Any:
        assert tracker.run_id is not None
        return self.client.get_run(tracker.run_id)

    def history(self, tracker: Tracker, name: str) -> list[tuple[int, float]]:
        assert tracker.run_id is not None
        found = self.client.get_metric_history(tracker.run_id, name)
        return [(metric.step, metric.value) for metric in found]


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[Store]:
    """Its tables take seconds to make, so it is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        folder = tmp_path_factory.mktemp("store")
        shutil.copy(empty_mlflow, folder / "mlflow.db")
        store = Store(folder)
        yield store
        store.client._tracking_client.store._dispose_engine()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No retries; and what ``open_run`` sets in the environment ends with the test."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setattr(tracking, "_current", Tracker())


@pytest.fixture
def store(shared_store: Store) -> Store:
    return shared_store


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# --- Doing nothing -------------------------------------------------------------------------------


CARD: dict[str, Any] = {
    "shape": [1, 8, 8],
    "source": {"digits.csv.gz": "5" * 64},
    "splits": {
        "train": {"images": 3, "from": "all[0:3]", "sha256": "a" * 64},
        "test": {"images": 2, "from": "all[3:5]", "sha256": "b" * 64},
    },
}


def picture() -> np.ndarray:
    return np.arange(12, dtype=np.uint8).reshape(3, 4, 1)


def use_everything(tracker: Tracker, path: Path) -> None:
    tracker.log_row("infogan", COLUMNS, (1.0, 0.5, None))
    tracker.flush()
    tracker.log_image("infogan", 1, picture)
    tracker.log_metrics({"error": 0.05})
    tracker.log_params({"training.seed": 0})
    tracker.log_data("digits", CARD)
    tracker.set_tags({"stage": "training"})
    tracker.set_experiment_tags({"view": "one"})
    tracker.tags()
    tracker.log_artifact(path)
    tracker.log_artifact(path.parent, "figures")
    tracker.end("FINISHED")


def test_without_tracking_every_call_does_nothing(tmp_path: Path) -> None:
    tracker = Tracker()
    before = dict(vars(tracker))
    use_everything(tracker, tmp_path / "missing.txt")
    assert tracker.run_id is None
    assert vars(tracker) == before
    assert list(tmp_path.iterdir()) == []


def test_without_tracking_no_picture_is_made() -> None:
    Tracker().log_image("infogan", 0, lambda: pytest.fail("it was made"))


def test_the_tracker_in_use_is_the_one_that_was_activated() -> None:
    assert type(tracking.current()) is Tracker
    other = Tracker()
    tracking.activate(other)
    assert tracking.current() is other


# --- A store that works --------------------------------------------------------------------------


def test_rows_become_one_history_per_column_with_their_steps(store: Store) -> None:
    tracker = store.open()
    tracker.log_row("infogan", COLUMNS, (10.0, 0.5, None))
    tracker.log_row("baseline", COLUMNS, (10.0, 0.25, -1.0))
    tracker.log_row("infogan", COLUMNS, (20.0, 0.75, 2.25))
    tracker.flush()
    assert store.history(tracker, "curves/loss_d") == [(10, 0.5), (20, 0.75)]
    assert store.history(tracker, "curves/bound.c1") == [(20, 2.25)]
    assert store.history(tracker, "regular GAN/curves/loss_d") == [(10, 0.25)]
    assert store.history(tracker, "regular GAN/curves/bound.c1") == [(10, -1.0)]
    assert set(store.run(tracker).data.metrics) == {
        f"{model}curves/{column}" for model in ("", "regular GAN/") for column in COLUMNS[1:]
    }


def test_more_rows_than_a_batch_all_arrive_in_order(store: Store) -> None:
    tracker = store.open()
    count = FLUSH_POINTS + 7
    for step in range(count):
        tracker.log_row("infogan", ("step", "loss"), (float(step), step / 4))
    tracker.end("FINISHED")
    expected = [(step, step / 4) for step in range(count)]
    assert store.history(tracker, "curves/loss") == expected


def test_a_number_that_is_none_of_them_is_kept_as_nan(store: Store) -> None:
    tracker = store.open()
    tracker.log_row("infogan", ("step", "loss"), (1.0, math.nan))
    tracker.end("FAILED")
    [(step, value)] = store.history(tracker, "curves/loss")
    assert step == 1
    assert math.isnan(value)


def test_final_numbers_are_metrics_of_the_run(store: Store) -> None:
    tracker = store.open()
    tracker.log_metrics({"error_one_to_one": 0.05, "images": 297})
    assert store.run(tracker).data.metrics == {"error_one_to_one": 0.05, "images": 297.0}


def test_only_new_parameters_are_sent_and_changed_ones_are_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = store.open()
    tracker.log_params({"training.seed": 0, "training.lr_d": 2e-4})
    caplog.clear()
    tracker.log_params({"training.seed": 0, "training.lr_d": 2e-4, "evaluation.seed": 1})
    assert caplog.messages == []
    tracker.log_params({"training.seed": 5})
    assert caplog.messages == ["MLflow keeps training.seed = 0 of this run, now it is 5"]
    assert store.run(tracker).data.params == {
        "training.seed": "0",
        "training.lr_d": "0.0002",
        "evaluation.seed": "1",
    }


def test_tags_and_artifacts_are_found_with_the_run(store: Store, tmp_path: Path) -> None:
    tracker = store.open("a name")
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"png")
    (tmp_path / "history.csv").write_text("step\n1\n")
    tracker.set_tags({"stage": "training", "commit": "abc"})
    tracker.log_artifact(tmp_path / "history.csv")
    tracker.log_artifact(tmp_path / "history.csv", "tables")
    tracker.log_artifact(folder, "figures")
    run = store.run(tracker)
    assert run.info.run_name == "a name"
    assert {"stage": "training", "commit": "abc"}.items() <= run.data.tags.items()
    assert run.info.artifact_uri.startswith(store.artifacts)
    kept = Path(run.info.artifact_uri.removeprefix("file://"))
    found = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert found == {"history.csv", "tables/history.csv", "figures/a.png"}


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_ends_as_it_is_told_with_what_was_still_buffered(store: Store, status: str) -> None:
    tracker = store.open()
    assert store.run(tracker).info.status == "RUNNING"
    tracker.log_row("infogan", ("step", "loss"), (3.0, 0.5))
    tracker.end(status)
    assert store.run(tracker).info.status == status
    assert store.history(tracker, "curves/loss") == [(3, 0.5)]


def test_runs_of_one_experiment_stay_together_and_apart_from_others(store: Store) -> None:
    first, second, other = store.open(), store.open(), store.open(experiment="digits")
    found = [store.run(tracker).info.experiment_id for tracker in (first, second, other)]
    assert found[0] == found[1] != found[2]
    assert len({first.run_id, second.run_id, other.run_id}) == 3


def test_a_resumed_run_goes_on_with_its_numbers_and_parameters(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    first = store.open()
    first.log_params({"training.seed": 0})
    first.log_row("infogan", ("step", "loss"), (1.0, 0.5))
    first.set_tags({"error": "no space left"})
    first.end("FAILED")

    second = store.open("another name", first.run_id)
    assert second.run_id == first.run_id
    run = store.run(second)
    assert run.info.status == "RUNNING"
    assert "error" not in run.data.tags
    second.log_row("infogan", ("step", "loss"), (2.0, 0.25))
    caplog.clear()
    second.log_params({"training.seed": 0, "new": 1})
    assert caplog.messages == []
    second.end("FINISHED")
    assert store.history(second, "curves/loss") == [(1, 0.5), (2, 0.25)]
    assert store.run(second).data.params == {"training.seed": "0", "new": "1"}
    assert store.run(second).info.status == "FINISHED"


def test_a_run_that_the_store_never_had_is_replaced_by_a_new_one(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "infogan.tracking")
    tracker = store.open(resume="0" * 32)
    assert tracker.run_id != "0" * 32
    assert store.run(tracker).info.status == "RUNNING"
    assert f"MLflow no longer has run {'0' * 32}; a new one is opened" in caplog.messages
    assert errors(caplog) == []


def test_a_run_that_somebody_deleted_is_replaced_by_a_new_one(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    deleted = store.open()
    assert deleted.run_id is not None
    store.client.delete_run(deleted.run_id)
    tracker = open_run(store.uri, store.artifacts, "mnist", "run", deleted.run_id)
    assert errors(caplog) == []
    assert tracker.run_id not in (None, deleted.run_id)


def test_a_row_that_arrived_in_part_is_completed_and_nothing_is_sent_twice(store: Store) -> None:
    first = store.open()
    first.log_row("infogan", COLUMNS, (1.0, 0.5, 1.5))
    first.log_row("infogan", COLUMNS[:2], (2.0, 0.25))  # killed between two batches
    first.flush()
    second = store.open(resume=first.run_id)
    second.log_row("infogan", COLUMNS, (1.0, 0.5, 1.5))
    second.log_row("infogan", COLUMNS, (2.0, 0.25, 2.5))
    second.log_row("infogan", COLUMNS, (3.0, 0.125, 3.5))
    second.end("FINISHED")
    assert store.history(second, "curves/loss_d") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert store.history(second, "curves/bound.c1") == [(1, 1.5), (2, 2.5), (3, 3.5)]


def pictures_of(store: Store, tracker: Tracker) -> list[str]:
    """Model and step of every picture in full size, as MLflow's pages read them off its name."""
    found = store.client.list_artifacts(str(tracker.run_id), "images")
    names = [Path(each.path).name for each in found if each.path.endswith(".png")]
    return sorted(name.partition("+timestamp+")[0] for name in names)


def test_a_picture_is_kept_with_its_model_and_step_and_not_made_again(store: Store) -> None:
    first = store.open()
    for step in (0, 10):
        first.log_image("infogan", step, picture)
    first.log_image("baseline", 0, picture)
    expected = [
        "As it learns~InfoGAN+step+0",
        "As it learns~InfoGAN+step+10",
        "As it learns~regular GAN+step+0",
    ]
    assert pictures_of(store, first) == expected
    second = store.open(resume=first.run_id)
    second.log_image("infogan", 10, lambda: pytest.fail("it is there already"))
    second.log_image("infogan", 1, picture)
    assert pictures_of(store, second) == sorted([*expected, "As it learns~InfoGAN+step+1"])


def test_an_error_in_a_picture_is_ours_and_not_the_stores(store: Store) -> None:
    def fail() -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.open().log_image("infogan", 0, fail)


def test_a_part_has_what_is_true_of_the_whole_and_is_found_again_under_any_name(
    store: Store,
) -> None:
    whole = store.open("mnist quick 2 seeds")
    whole.log_params({"training.lr_g": 1e-3, "training.seeds": "0, 1"})
    whole.log_data("digits", CARD)
    whole.set_tags({"dataset": "mnist", NOTE: "a result", "mlflow.source.name": "kedro run"})
    part = whole.child("seed 1", {"training.seeds": 1})
    run = store.run(part)
    assert run.info.run_name == "seed 1 of mnist quick 2 seeds"
    assert run.data.params == {"training.lr_g": "0.001", "training.seeds": "1"}
    assert run.data.tags["mlflow.parentRunId"] == whole.run_id
    assert run.data.tags["dataset"] == "mnist"
    assert run.data.tags["mlflow.source.name"] == "kedro run"
    assert NOTE not in run.data.tags
    assert run.inputs.dataset_inputs == store.run(whole).inputs.dataset_inputs

    store.client.set_tag(str(part.run_id), "mlflow.runName", "my favourite")
    part.end("FINISHED")
    again = whole.child("seed 1", {"training.seeds": 1})
    assert again.run_id == part.run_id
    assert whole.child("seed 2").run_id != part.run_id
    other = whole.child("seed 1", {"training.lr_g": 2e-3}, identity="b")
    assert other.run_id != part.run_id
    assert whole.child("seed 1", identity="b").run_id == other.run_id
    deeper = again.child("half")
    assert store.run(deeper).info.run_name == "half of my favourite"
    assert store.run(deeper).data.tags["mlflow.parentRunId"] == part.run_id


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (ZeroDivisionError, "FAILED")]
)
def test_a_part_that_is_interrupted_is_on_record_as_killed_and_one_that_fails_as_failed(
    store: Store, error: type[BaseException], status: str
) -> None:
    tracking.activate(store.open())
    with pytest.raises(error), tracking.part("seed 1") as part:
        raise error
    assert store.run(part).info.status == status


def test_data_are_inputs_with_their_use_digest_and_facts_once(store: Store) -> None:
    tracker = store.open()
    tracker.log_data("digits", CARD)
    tracker.log_data("digits", CARD)
    inputs = store.run(tracker).inputs.dataset_inputs
    found = {each.tags[0].value: each.dataset for each in inputs}
    assert [each.tags[0].key for each in inputs] == ["mlflow.data.context"] * 2
    assert {use: (each.name, each.digest) for use, each in found.items()} == {
        "train": ("digits", "a" * 12),
        "test": ("digits", "b" * 12),
    }
    assert json.loads(found["train"].source) == CARD["source"]
    assert json.loads(found["train"].profile) == {
        "images": 3,
        "from": "all[0:3]",
        "sha256": "a" * 64,
        "shape": "1x8x8",
        "raw digits.csv.gz": "5" * 64,
    }


def test_what_somebody_wrote_about_an_experiment_stays_and_views_are_renewed(
    store: Store,
) -> None:
    tracker = store.open(experiment="described")

    def tags() -> dict[str, str]:
        return dict(store.client.get_experiment(store.run(tracker).info.experiment_id).tags)

    tracker.set_experiment_tags({NOTE: "ours", "view": "one"})
    assert tags().items() >= {NOTE: "ours", "view": "one"}.items()
    store.client.set_experiment_tag(store.run(tracker).info.experiment_id, NOTE, "theirs")
    tracker.set_experiment_tags({NOTE: "ours", "view": "two"})
    assert tags().items() >= {NOTE: "theirs", "view": "two"}.items()


def test_an_experiment_that_somebody_deleted_is_restored_with_its_run(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    first = store.open(experiment="deleted")
    store.client.delete_experiment(store.run(first).info.experiment_id)
    second = store.open(experiment="deleted", resume=first.run_id)
    assert second.run_id == first.run_id
    assert store.run(second).info.lifecycle_stage == "active"
    assert caplog.messages == ["MLflow experiment deleted was deleted; it is restored"]


def test_one_run_stands_for_one_that_the_store_lacks(store: Store) -> None:
    missing = "a" * 32
    first = store.open(resume=missing)
    assert not first.resumed
    for seed in (0, 1):
        first.child(f"seed {seed}").end("FINISHED")
    first.end("FINISHED")
    second = store.open(resume=missing)
    assert (second.run_id, second.resumed) == (first.run_id, True)
    assert store.open().run_id != first.run_id
    assert store.open(resume="1" * 32).run_id != first.run_id


@pytest.mark.parametrize("name", ["My%20Project", "why?", "C# ü", "plain"])
def test_a_store_lies_in_its_folder_whatever_that_is_called(
    tmp_path: Path, empty_mlflow: Path, name: str
) -> None:
    path = tmp_path / name / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(empty_mlflow, path)
    tracker = open_run(tracking.sqlite(path), None, "mnist", "run", None)
    assert isinstance(tracker, MlflowTracker)
    tracker._client._tracking_client.store._dispose_engine()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT run_uuid FROM runs").fetchall() == [(tracker.run_id,)]


def test_a_new_store_is_made_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class Client:
        def __init__(self, uri: str) -> None:
            made.append(uri)

        def search_experiments(self) -> None:
            """Makes the tables."""

    monkeypatch.setattr("mlflow.MlflowClient", Client)
    path = tmp_path / "My%20Project" / "mlflow.db"
    tracking._create_database(f"{tracking.sqlite(path)}?timeout=7.5")
    assert path.exists()
    assert made == [tracking.sqlite(path.with_name(".mlflow.tmp.db"))]


def test_a_locked_store_costs_the_tracking_and_not_the_run(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow lets SQLite wait for twenty seconds, of which a tenth is enough here.
    text = sqlalchemy.sql.text
    monkeypatch.setattr(sqlalchemy.sql, "text", lambda words: text(words.replace("20000", "100")))
    tracker = store.open()
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        use_everything(tracker, tmp_path)
    [told] = [text for text in errors(caplog) if "cannot be used" in text]  # MLflow talks, too
    assert "database is locked" in told


# --- A store that does not -----------------------------------------------------------------------


def test_a_server_that_cannot_be_reached_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_run("http://127.0.0.1:9", None, "mnist", "run", None)
    assert type(tracker) is Tracker
    assert tracker.run_id is None
    use_everything(tracker, tmp_path)
    [told] = errors(caplog)
    assert told.startswith("MLflow at http://127.0.0.1:9 cannot be used (")
    assert "The run goes on WITHOUT TRACKING" in told


def test_no_password_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert type(open_run("http://bob:secret@127.0.0.1:9", None, "mnist", "run", None)) is Tracker
    [told] = errors(caplog)
    assert told.startswith("MLflow at http://…@127.0.0.1:9 cannot be used (")
    assert "secret" not in told


def test_an_unreachable_server_is_told_once_when_resuming_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert type(open_run("http://127.0.0.1:9", None, "mnist", "run", "0" * 32)) is Tracker
    assert len(errors(caplog)) == 1


class Server:
    """Remembers the batches it was sent, until it breaks."""

    def __init__(self, calls_until_it_breaks: int = 1_000_000) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.batches: list[dict[str, Any]] = []
        self.left = calls_until_it_breaks

    @property
    def calls(self) -> int:
        return len(self.heard)

    def _answer(self, *sent: object, **batch: Any) -> Any:
        self.heard.append(sent)
        if self.calls > self.left:
            raise ConnectionError("connection lost\nand a second line")
        if batch:
            self.batches.append(batch)
        run = SimpleNamespace(params={"known": "1"}, tags={}, experiment_id="1")
        return SimpleNamespace(data=run, info=run, outputs=None, tags={})

    get_run = get_experiment = set_experiment_tag = log_batch = log_inputs = log_image = _answer
    log_artifact = log_artifacts = set_terminated = _answer


def tracker_of(server: Server) -> MlflowTracker:
    return MlflowTracker(server, "id", "http://server")  # type: ignore[arg-type]


CALLS = 15  # of a run that uses everything


@pytest.mark.parametrize("calls", range(CALLS + 1))
def test_a_server_that_dies_is_told_once_and_not_spoken_to_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, calls: int
) -> None:
    server = Server(calls)
    (tmp_path / "file").touch()
    tracker = tracker_of(server)
    use_everything(tracker, tmp_path / "file")
    expected = "MLflow at http://server cannot be used (connection lost). The run goes on WITHOUT"
    if server.calls <= calls:  # it outlived the run
        assert calls == CALLS
        assert errors(caplog) == []
        assert not tracker.lost
        return
    [told] = errors(caplog)
    assert tracker.lost
    assert told.startswith(expected)
    assert server.calls == calls + 1
    use_everything(tracker, tmp_path / "file")
    assert len(errors(caplog)) == 1
    assert server.calls == calls + 1


def test_a_run_is_not_whole_if_a_part_of_it_is_not() -> None:
    server = Server()
    server.search_runs = lambda *_: []  # type: ignore[attr-defined]
    server.create_run = lambda *_, **__: SimpleNamespace(  # type: ignore[attr-defined]
        info=SimpleNamespace(run_id="part")
    )
    run = SimpleNamespace(run_name="run", experiment_id="1")
    data = SimpleNamespace(params={}, tags={})
    inputs = SimpleNamespace(dataset_inputs=[])
    server.get_run = lambda _: SimpleNamespace(info=run, data=data, inputs=inputs)  # type: ignore[method-assign]
    tracker = tracker_of(server)
    part = tracker.child("seed 0")
    assert part.run_id == "part"
    assert not tracker.lost
    server.left = 0
    part.set_tags({"a": "b"})
    assert tracker.lost


def test_points_are_sent_in_batches_and_not_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_FLUSH_SECONDS", 1e9)
    server = Server()
    tracker = tracker_of(server)
    columns = ("step", "a", "b", "c")
    for step in range(FLUSH_POINTS // 3):
        tracker.log_row("infogan", columns, (float(step), 1.0, 2.0, 3.0))
    assert server.batches == []
    for step in range(FLUSH_POINTS // 3, FLUSH_POINTS):
        tracker.log_row("infogan", columns, (float(step), 1.0, 2.0, 3.0))
    tracker.end("FINISHED")
    lengths = [len(batch["metrics"]) for batch in server.batches]
    assert sum(lengths) == 3 * FLUSH_POINTS
    assert max(lengths) <= FLUSH_POINTS
    assert len(lengths) <= 7


def test_points_that_have_waited_long_are_sent_with_the_next_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    now = [0.0]
    monkeypatch.setattr(tracking.time, "monotonic", lambda: now[0])
    tracker = tracker_of(server)
    for step, now[0] in ((1, 1.0), (2, 9.0), (3, 11.0), (4, 12.0)):
        tracker.log_row("infogan", ("step", "loss"), (float(step), 0.5))
    assert [[point.step for point in batch["metrics"]] for batch in server.batches] == [[1, 2, 3]]


def test_a_flush_without_points_sends_nothing() -> None:
    server = Server()
    tracker_of(server).flush()
    assert server.batches == []


def test_a_row_that_does_not_fit_its_columns_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="shorter"):
        tracker_of(Server()).log_row("infogan", COLUMNS, (1.0, 0.5))


# --- Whence --------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that belongs to no repository, entered."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_outside_of_a_repository_the_commit_is_unknown(outside: Path) -> None:
    assert commit() == "unknown"


def test_without_git_the_commit_is_unknown(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(outside))
    assert commit() == "unknown"


def test_the_commit_is_dirty_if_code_differs_but_not_if_results_do(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q")
    for name in ("src/code.py", "conf/a.yml", "data/metrics.json"):
        (outside / name).parent.mkdir()
        (outside / name).write_text("old")
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert commit() == head
    (outside / "data" / "metrics.json").write_text("new")
    assert commit() == head
    for name in ("src/code.py", "conf/a.yml"):
        (outside / name).write_text("new")
        assert commit() == f"{head}+dirty"
        monkeypatch.chdir(outside / "data")
        assert commit() == f"{head}+dirty"
        monkeypatch.chdir(outside)
        (outside / name).write_text("old")
        assert commit() == head


def test_a_record_names_its_time_code_versions_and_run(outside: Path) -> None:
    tracker = Tracker()
    tracker.run_id = "abc"
    tracking.activate(tracker)
    found = tracking.provenance()
    assert found["commit"] == "unknown"
    assert found["mlflow_run_id"] == "abc"
    assert set(found["versions"]) >= {"python", "torch", "numpy", "kedro", "mlflow", "infogan"}
    assert found["started"].endswith("+00:00")
