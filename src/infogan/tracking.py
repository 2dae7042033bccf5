"""Where numbers go while a run lasts: nowhere, or to MLflow.

Nodes write to ``current()`` and need not know which of the two it is. MLflow is imported only when
a run is opened; a tracking server that fails is said once, loudly, and never stops the run.
"""

import json
import logging
import os
import platform
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from infogan.errors import without_password
from infogan.files import atomic

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

    from infogan.registry import Candidate

_logger = logging.getLogger(__name__)

NOTE = "mlflow.note.content"  # the description of a run or an experiment, in Markdown
EVALUATION = "eval/"  # numbers of the model that a run has logged: its page shows them, too
FLUSH_POINTS = 500  # metrics a batch: beyond some hundred, larger batches are not cheaper
# Lets MLflow's pages know runs from traces of language models; those of 3.17 open on the latter
# nevertheless, until "Model training" has been clicked once.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_DIGEST = 12  # characters of a sha256 in the name of a data set; MLflow has room for 36
_FLUSH_SECONDS = 10.0  # at most this old are curves that somebody watches
_STANDS_FOR = "stands_for"  # tag of a run that was opened because the store lacks another

# MLflow's pages make a group of charts of all metrics that agree up to the last slash, and sort
# groups and charts by their names.
_MODELS = {"infogan": "", "baseline": "regular GAN/"}
_OF_A_CODE = {
    "entropy": "H",
    "held_out": "L_I",
    "lower_bound": "L_I.minibatch",
    "information_real": "information_real",
}
_PICTURES = {"infogan": "InfoGAN", "baseline": "regular GAN"}


def curve(model: str, column: str) -> str:
    """The metric of a column of a model's rows: of each code H(c) stands beside L_I.

    >>> [curve("infogan", column) for column in ("entropy.c1", "held_out.c1", "loss_d")]
    ['codes/c1.H', 'codes/c1.L_I', 'curves/loss_d']
    >>> curve("baseline", "lower_bound.c1")
    'regular GAN/codes/c1.L_I.minibatch'
    """
    kind, _, code = column.partition(".")
    name = f"codes/{code}.{_OF_A_CODE[kind]}" if kind in _OF_A_CODE else f"curves/{column}"
    return _MODELS.get(model, f"{model}/") + name


def pictures(model: str) -> str:
    """The key of the pictures that a model makes of all its codes while it learns."""
    return f"As it learns/{_PICTURES.get(model, model)}"


class Tracker:
    """Does nothing; also what remains when tracking is switched off."""

    run_id: str | None = None
    resumed = False  # whether the store had the run already
    address: tuple[str, str, bool] | None = None  # for another process of the same run

    def child(
        self,
        part: str,  # noqa: ARG002
        params: Mapping[str, Any] | None = None,  # noqa: ARG002
        identity: str = "",  # noqa: ARG002
    ) -> "Tracker":
        """A tracker of the run of a part of this one, such as a seed, which may exist already.

        ``params`` are those in which it differs. A part of another ``identity`` is another one.
        """
        return self

    @property
    def lost(self) -> bool:
        """Whether the store has failed, for this run or a part of it, since it was opened."""
        return False

    def log_row(self, name: str, columns: Sequence[str], row: Sequence[float | None]) -> None:
        """Numbers of one iteration (the first column) of the model ``name``."""

    def log_image(self, name: str, step: int, make: Callable[[], "np.ndarray"]) -> None:
        """A picture, uint8 (height, width, C), of the model ``name`` at one iteration.

        Made only if it is wanted and not there yet.
        """

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Final numbers."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters that the run does not have yet."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file, or the files of a folder."""

    def log_model(self, candidate: "Candidate") -> None:
        """The model that this run has trained, for the registry, once."""

    def log_data(self, name: str, card: Mapping[str, Any]) -> None:
        """The images of each split that the run uses, as their card describes them."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Words to find the run by."""

    def tags(self) -> dict[str, str]:
        """All words of the run."""
        return {}

    def set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        """Words of all runs together; a description that somebody has given them stays."""

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
        self.resumed = resumed
        self._client = client
        self._uri = uri
        self._lost = False
        self._children: list[MlflowTracker] = []
        self._points: list[Metric] = []
        self._flushed = time.monotonic()
        self._last_steps: dict[str, int] = {}
        self._images: list[str] | None = None
        self._params: dict[str, str] = (
            self._attempt(lambda: dict(client.get_run(run_id).data.params)) or {}
        )

    @property
    def lost(self) -> bool:
        return self._lost or any(child.lost for child in self._children)

    def _attempt(self, call: Callable[[], Any]) -> Any:
        """Do it; the first failure is told and ends the tracking, not the run."""
        if self._lost:
            return None
        try:
            return call()
        except Exception as error:  # whatever a server, proxy or full disk comes up with
            self._lost = True
            _lament(self._uri, error)
            return None

    def child(
        self, part: str, params: Mapping[str, Any] | None = None, identity: str = ""
    ) -> Tracker:
        return self._attempt(lambda: self._child(part, params or {}, identity)) or Tracker()

    def _child(self, part: str, params: Mapping[str, Any], identity: str) -> Tracker:
        parent = self._client.get_run(self.run_id)
        experiment = parent.info.experiment_id
        # By tags, since somebody may have given it another name.
        own = {"part": part, **({"identity": identity} if identity else {})}
        wanted = {"`mlflow.parentRunId`": self.run_id, **own}
        below = " and ".join(f"tags.{name} = '{value}'" for name, value in wanted.items())
        for run in self._client.search_runs([experiment], below):
            if _reopen(self._client, run.info.run_id):
                again = MlflowTracker(self._client, run.info.run_id, self._uri, resumed=True)
                self._children.append(again)
                return again
        # It can be found by what all parts have in common, too.
        common = {
            name: value
            for name, value in parent.data.tags.items()
            if name.startswith("mlflow.source.")
            or not (name.startswith("mlflow.") or name in (_STANDS_FOR, "report"))
        }
        tags = {**common, "mlflow.parentRunId": self.run_id, **own}
        name = f"{part} of {parent.info.run_name}"
        run = self._client.create_run(experiment, run_name=name, tags=tags)
        if parent.inputs.dataset_inputs:
            self._client.log_inputs(run.info.run_id, parent.inputs.dataset_inputs)
        child = MlflowTracker(self._client, run.info.run_id, self._uri)
        self._children.append(child)
        child.log_params({**parent.data.params, **params})
        return child

    def _last_step(self, key: str) -> int:
        """Up to which step the store has a number."""
        if key not in self._last_steps:
            points = self._client.get_metric_history(self.run_id, key) if self.resumed else []
            self._last_steps[key] = max((point.step for point in points), default=-1)
        return self._last_steps[key]

    def log_row(self, name: str, columns: Sequence[str], row: Sequence[float | None]) -> None:
        from mlflow.entities import Metric

        step, now = int(row[0] or 0), int(time.time() * 1000)
        numbers = {
            curve(name, column): value
            for column, value in zip(columns[1:], row[1:], strict=True)
            if value is not None
        }
        # A killed run has sent rows that its last checkpoint does not hold; they come again. The
        # last of them may have been sent in part.
        stored = self._attempt(lambda: {key: self._last_step(key) for key in numbers}) or {}
        self._points += [
            Metric(key, value, now, step)
            for key, value in numbers.items()
            if step > stored.get(key, -1)
        ]
        aged = time.monotonic() - self._flushed > _FLUSH_SECONDS
        if len(self._points) >= FLUSH_POINTS or aged:
            self.flush()

    def log_image(self, name: str, step: int, make: Callable[[], "np.ndarray"]) -> None:
        key = pictures(name)
        if self._attempt(lambda: not self._has_image(key, step)):
            picture = make()
            self._attempt(lambda: self._client.log_image(self.run_id, picture, key=key, step=step))

    def _has_image(self, key: str, step: int) -> bool:
        """Whether a killed run has already sent it; the smaller one of two files is the last."""
        if not self.resumed:
            return False
        if self._images is None:
            found = self._client.list_artifacts(self.run_id, "images")
            self._images = [Path(each.path).name for each in found]
        begins = f"{key.replace('/', '~')}+step+{step}+"
        return any(each.startswith(begins) and each.endswith(".webp") for each in self._images)

    def flush(self) -> None:
        points, self._points = self._points, []
        self._flushed = time.monotonic()
        for start in range(0, len(points), FLUSH_POINTS):
            chunk = points[start : start + FLUSH_POINTS]
            self._attempt(partial(self._client.log_batch, self.run_id, metrics=chunk))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self._attempt(lambda: self._log_metrics(metrics))

    def _log_metrics(self, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        outputs = self._client.get_run(self.run_id).outputs
        model = outputs.model_outputs[0].model_id if outputs and outputs.model_outputs else None
        now = int(time.time() * 1000)
        points = [
            Metric(name, float(value), now, 0, model if name.startswith(EVALUATION) else None)
            for name, value in metrics.items()
        ]
        self._client.log_batch(self.run_id, metrics=points)

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
        if self._lost:
            return
        from infogan.registry import publish

        try:
            version = publish(self._client, self.run_id, candidate)
            _logger.info("The model is models:/%s/%s in MLflow", candidate.name, version)
        except Exception as error:  # a server without a registry, a full disk, ...
            _logger.error(
                "The model could not be logged to MLflow at %s (%s). The run goes on; the model "
                "is in %s.",
                without_password(self._uri),
                _reason(error),
                candidate.weights,
            )

    def log_data(self, name: str, card: Mapping[str, Any]) -> None:
        self._attempt(lambda: self._client.log_inputs(self.run_id, list(_inputs(name, card))))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        sent = [RunTag(name, value) for name, value in tags.items()]
        self._attempt(lambda: self._client.log_batch(self.run_id, tags=sent))

    def tags(self) -> dict[str, str]:
        return self._attempt(lambda: dict(self._client.get_run(self.run_id).data.tags)) or {}

    def set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        self._attempt(lambda: self._set_experiment_tags(tags))

    def _set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        number = self._client.get_run(self.run_id).info.experiment_id
        known = self._client.get_experiment(number).tags
        for name, value in tags.items():
            if name != NOTE or not known.get(NOTE):
                self._client.set_experiment_tag(number, name, value)

    def end(self, status: str) -> None:
        self.flush()
        self._attempt(lambda: self._client.set_terminated(self.run_id, status))


def prepare_mlflow() -> None:
    """Before it is imported: have MLflow say little and wait briefly, unless told otherwise."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # By default a dead server is tried for many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def open_run(
    uri: str, artifacts: str | None, experiment: str, name: str, resume: str | None
) -> Tracker:
    """A new run, or the run ``resume`` if the store has it, or one that already stands for it.

    ``artifacts`` is where a new experiment keeps its files, None to leave it to the server.
    Gives the tracker that does nothing if the store cannot be reached.
    """
    prepare_mlflow()
    from mlflow import MlflowClient

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
        if resume and (known := _substitute(client, experiment_id, resume)):
            return MlflowTracker(client, known, uri, resumed=True)
        tags = {_STANDS_FOR: resume} if resume else {}
        run = client.create_run(experiment_id, run_name=name, tags=tags)
        return MlflowTracker(client, run.info.run_id, uri)
    except Exception as error:  # never at the price of a training
        _lament(uri, error)
        return Tracker()


def sqlite(path: Path) -> str:
    """The address of a SQLite store, also in a folder called ``My%20Project`` or ``why?``.

    Escapes only where they are needed: MLflow makes an empty folder of the address as it stands.
    """
    from sqlalchemy import URL, make_url

    plain = f"sqlite:///{path}"
    if make_url(plain).database == str(path):
        return plain
    return URL.create("sqlite", database=str(path)).render_as_string()


def attach(address: tuple[str, str, bool] | None) -> Tracker:
    """The run that another process has opened and will end."""
    if address is None:
        return Tracker()
    from mlflow import MlflowClient

    uri, run_id, resumed = address
    return MlflowTracker(MlflowClient(uri), run_id, uri, resumed=resumed)


def _inputs(name: str, card: Mapping[str, Any]) -> "Iterator[DatasetInput]":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    raw = {f"raw {file}": identity for file, identity in card["source"].items()}
    shape = "x".join(map(str, card["shape"]))
    for split, facts in card["splits"].items():
        profile = json.dumps({**facts, "shape": shape, **raw})  # of all this, the pages show it
        source = json.dumps(card["source"])
        dataset = Dataset(name, facts["sha256"][:_DIGEST], "files", source, profile=profile)
        yield DatasetInput(dataset, [InputTag("mlflow.data.context", split)])


def _create_database(uri: str) -> None:
    """Make a new SQLite store whole or not at all, and once.

    MLflow makes its tables in many steps; interrupted between two of them, or done by two
    processes at once, they would never work again.
    """
    from mlflow import MlflowClient
    from sqlalchemy import make_url

    if not uri.startswith("sqlite:///"):
        return
    path = Path(make_url(uri).database or "")  # without ?timeout=60 and the like
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            with atomic(path) as temporary:
                MlflowClient(sqlite(temporary)).search_experiments()


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


def _substitute(client: "MlflowClient", experiment_id: str, run_id: str) -> str | None:
    """The run that was opened when this one was missed before."""
    there = f"tags.{_STANDS_FOR} = '{run_id}'"
    for run in client.search_runs([experiment_id], there, max_results=1):
        if _reopen(client, run.info.run_id):
            return str(run.info.run_id)
    return None


def _reason(error: Exception) -> str:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return textwrap.shorten(without_password(first_line), 300, placeholder=" …")


def _lament(uri: str, error: Exception) -> None:
    _logger.error(
        "MLflow at %s cannot be used (%s). The run goes on WITHOUT TRACKING; its numbers are in "
        "data/, nothing is lost.",
        without_password(uri),
        _reason(error),
    )


_current = Tracker()
_command = "unknown"


def command() -> str:
    """What does this `kedro run` again, as `browsing.command` writes it."""
    return _command


def note_command(words: str) -> None:
    """Keep what does this `kedro run` again."""
    global _command  # noqa: PLW0603
    _command = words


def current() -> Tracker:
    """The tracker of this process."""
    return _current


def activate(tracker: Tracker) -> None:
    """Make a tracker the current one."""
    global _current  # noqa: PLW0603
    _current = tracker


@contextmanager
def active(tracker: Tracker) -> Iterator[None]:
    """Within the block the tracker is the current one."""
    before = current()
    activate(tracker)
    try:
        yield
    finally:
        activate(before)


@contextmanager
def part(
    name: str, params: Mapping[str, Any] | None = None, identity: str = ""
) -> Iterator[Tracker]:
    """A run below the current one, for the block: one of a part of it, such as a seed, that
    differs from it in ``params``. It goes on in one of the same name and ``identity``.
    """
    tracker = current().child(name, params, identity)
    status = "KILLED"
    try:
        yield tracker
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        tracker.end(status)


@contextmanager
def child(
    name: str, params: Mapping[str, Any] | None = None, identity: str = "", *, nested: bool
) -> Iterator[None]:
    """Within the block, ``current()`` is a run below the current one (``part``), if ``nested``."""
    if not nested:
        yield
        return
    with part(name, params, identity) as tracker, active(tracker):
        yield


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
