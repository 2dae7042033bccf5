"""Where numbers go while a run lasts: nowhere, or to MLflow.

Nodes write to ``current()`` and need not know which of the two it is. MLflow is imported only when
a run is opened; a tracking server that fails is said once, loudly, and never stops the run.
"""

import logging
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from infogan.files import atomic

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from infogan.registry import Candidate

_logger = logging.getLogger(__name__)

FLUSH_POINTS = 500  # metrics a batch: beyond some hundred, larger batches are not cheaper
# Lets MLflow's pages open on curves and runs instead of on traces of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_FLUSH_SECONDS = 10.0  # at most this old are curves that somebody watches


class Tracker:
    """Does nothing; also what remains when tracking is switched off."""

    run_id: str | None = None
    address: tuple[str, str, bool] | None = None  # for another process of the same run

    def child(self, name: str) -> "Tracker":  # noqa: ARG002
        """A tracker of a run below this one; the run of this name, if there is one."""
        return self

    def log_row(self, name: str, columns: Sequence[str], row: Sequence[float | None]) -> None:
        """Numbers of one iteration (the first column) of the model ``name``."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Final numbers."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters that the run does not have yet."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file, or the files of a folder."""

    def log_model(self, candidate: "Candidate") -> None:
        """The model that this run has trained, for the registry, once."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Words to find the run by."""

    def flush(self) -> None:
        """Send what is buffered."""

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""


class MlflowTracker(Tracker):
    """One MLflow run, addressed by its id so that no other code's active run is touched."""

    run_id: str

    def __init__(
        self, client: "MlflowClient", run_id: str, uri: str, *, resumed: bool = False
    ) -> None:
        self.run_id = run_id
        self.address = (uri, run_id, resumed)
        self._client = client
        self._uri = uri
        self._alive = True
        self._points: list[Metric] = []
        self._flushed = time.monotonic()
        self._resumed = resumed
        self._last_steps: dict[str, dict[str, int]] = {}
        self._params: dict[str, str] = (
            self._attempt(lambda: dict(client.get_run(run_id).data.params)) or {}
        )

    def _attempt(self, call: Callable[[], Any]) -> Any:
        """Do it; the first failure is told and ends the tracking, not the run."""
        if not self._alive:
            return None
        try:
            return call()
        except Exception as error:  # whatever a server, proxy or full disk comes up with
            self._alive = False
            _lament(self._uri, error)
            return None

    def child(self, name: str) -> Tracker:
        return self._attempt(lambda: self._child(name)) or Tracker()

    def _child(self, name: str) -> Tracker:
        experiment = self._client.get_run(self.run_id).info.experiment_id
        below = f"tags.`mlflow.parentRunId` = '{self.run_id}' and tags.`mlflow.runName` = '{name}'"
        for run in self._client.search_runs([experiment], below):
            if _reopen(self._client, run.info.run_id):
                return MlflowTracker(self._client, run.info.run_id, self._uri, resumed=True)
        tags = {"mlflow.parentRunId": self.run_id}
        run = self._client.create_run(experiment, run_name=name, tags=tags)
        return MlflowTracker(self._client, run.info.run_id, self._uri)

    def _stored(self, name: str) -> dict[str, int]:
        """Up to which step the store has each number of a model's rows."""
        if not self._resumed:
            return {}
        if name not in self._last_steps:
            data = self._client.get_run(self.run_id).data.metrics
            keys = [key for key in data if key.startswith(f"{name}/")]
            histories = {key: self._client.get_metric_history(self.run_id, key) for key in keys}
            self._last_steps[name] = {
                key: max(point.step for point in points) for key, points in histories.items()
            }
        return self._last_steps[name]

    def log_row(self, name: str, columns: Sequence[str], row: Sequence[float | None]) -> None:
        from mlflow.entities import Metric

        step, now = int(row[0] or 0), int(time.time() * 1000)
        # A killed run has sent rows that its last checkpoint does not hold; they come again. The
        # last of them may have been sent in part.
        stored = self._attempt(lambda: self._stored(name)) or {}
        self._points += [
            Metric(f"{name}/{column}", value, now, step)
            for column, value in zip(columns[1:], row[1:], strict=True)
            if value is not None and step > stored.get(f"{name}/{column}", -1)
        ]
        aged = time.monotonic() - self._flushed > _FLUSH_SECONDS
        if len(self._points) >= FLUSH_POINTS or aged:
            self.flush()

    def flush(self) -> None:
        points, self._points = self._points, []
        self._flushed = time.monotonic()
        for start in range(0, len(points), FLUSH_POINTS):
            chunk = points[start : start + FLUSH_POINTS]
            self._attempt(partial(self._client.log_batch, self.run_id, metrics=chunk))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(name, float(value), now, 0) for name, value in metrics.items()]
        self._attempt(lambda: self._client.log_batch(self.run_id, metrics=points))

    def log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        known = self._params
        for name, value in params.items():
            if name in known and known[name] != str(value):
                _logger.warning(
                    "MLflow keeps %s = %s of this run, now it is %s", name, known[name], value
                )
        new = {name: str(value) for name, value in params.items() if name not in known}
        known.update(new)
        if new:
            sent = [Param(name, value) for name, value in new.items()]
            self._attempt(lambda: self._client.log_batch(self.run_id, params=sent))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._attempt(lambda: log(self.run_id, str(path), folder))

    def log_model(self, candidate: "Candidate") -> None:
        if not self._alive:
            return
        from infogan.registry import publish

        try:
            version = publish(self._client, self.run_id, candidate)
            _logger.info("The model is models:/%s/%s in MLflow", candidate.name, version)
        except Exception as error:  # a server without a registry, a full disk, ...
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            _logger.error(
                "The model could not be logged to MLflow at %s (%s). The run goes on; the model "
                "is in %s.",
                self._uri,
                first_line[:300],
                candidate.weights,
            )

    def set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        sent = [RunTag(name, value) for name, value in tags.items()]
        self._attempt(lambda: self._client.log_batch(self.run_id, tags=sent))

    def end(self, status: str) -> None:
        self.flush()
        self._attempt(lambda: self._client.set_terminated(self.run_id, status))


def open_run(
    uri: str, artifacts: str | None, experiment: str, name: str, resume: str | None
) -> Tracker:
    """A new run, or the run ``resume`` if the store still has it.

    ``artifacts`` is where a new experiment keeps its files, None to leave it to the server.
    Gives the tracker that does nothing if the store cannot be reached.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    # By default a dead server is tried for many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        _create_database(uri)
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found and found.lifecycle_stage != "active":
            _logger.warning("MLflow experiment %s was deleted; it is restored", experiment)
            client.restore_experiment(found.experiment_id)
        if resume and _reopen(client, resume):
            return MlflowTracker(client, resume, uri, resumed=True)
        experiment_id = (
            found.experiment_id
            if found
            else client.create_experiment(experiment, artifacts, tags=_EXPERIMENT_TAGS)
        )
        run = client.create_run(experiment_id, run_name=name)
        return MlflowTracker(client, run.info.run_id, uri)
    except Exception as error:  # never at the price of a training
        _lament(uri, error)
        return Tracker()


def attach(address: tuple[str, str, bool] | None) -> Tracker:
    """The run that another process has opened and will end."""
    if address is None:
        return Tracker()
    from mlflow import MlflowClient

    uri, run_id, resumed = address
    return MlflowTracker(MlflowClient(uri), run_id, uri, resumed=resumed)


def _create_database(uri: str) -> None:
    """Make a new SQLite store whole or not at all, and once.

    MLflow makes its tables in many steps; interrupted between two of them, or done by two
    processes at once, they would never work again.
    """
    from mlflow import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            with atomic(path) as temporary:
                MlflowClient(f"sqlite:///{temporary}").search_experiments()


def _reopen(client: "MlflowClient", run_id: str) -> bool:
    """Set a run to RUNNING, if the store still has it."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None
    if run is None or run.info.lifecycle_stage != "active":
        _logger.info("MLflow no longer has run %s; a new one is opened", run_id)
        return False
    client.update_run(run_id, status="RUNNING")
    if "error" in run.data.tags:
        client.delete_tag(run_id, "error")
    return True


def _lament(uri: str, error: Exception) -> None:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    _logger.error(
        "MLflow at %s does not answer (%s). The run goes on WITHOUT TRACKING; its numbers are in "
        "data/, nothing is lost.",
        uri,
        first_line[:300],
    )


_current = Tracker()


def current() -> Tracker:
    """The tracker of this process."""
    return _current


def activate(tracker: Tracker) -> None:
    """Make a tracker the current one."""
    global _current  # noqa: PLW0603
    _current = tracker


@contextmanager
def child(name: str, *, nested: bool) -> Iterator[None]:
    """Within the block, ``current()`` is a run below the current one, if ``nested``."""
    parent = current()
    if not nested:
        yield
        return
    activate(parent.child(name))
    status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        current().end(status)
        activate(parent)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    packages = ("torch", "numpy", "kedro", "mlflow", "dvc", "infogan")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def commit() -> str:
    """The git commit, with ``+dirty`` if code or configuration differ from it, or ``unknown``."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        # Results that git tracks change with every run; they do not make the code another one.
        changed = git("status", "--porcelain", "--", ":/src", ":/conf", ":/pyproject.toml")
        return git("rev-parse", "HEAD") + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def provenance() -> dict[str, Any]:
    """What a record says about its making: since when, by which code, tracked where."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        "mlflow_run_id": current().run_id,
    }
