"""What goes to MLflow around `kedro run`: its runs, their parameters, numbers, files and words."""

import atexit
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedro.config import AbstractConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import ValidationError

from infogan import browsing, tracking
from infogan.continuation import (
    SIDECAR,
    identity,
    interrupted_run,
    note_study,
    note_training,
    noted_run,
)
from infogan.datasets.values import Rows
from infogan.errors import UserError, without_password
from infogan.launcher import node_rank
from infogan.options import (
    Model,
    Options,
    Reporting,
    TrackingSettings,
    Training,
    extensions,
    flatten,
)
from infogan.provenance import data_name, data_tags, not_committed, outside_of_dvc
from infogan.registry import Candidate
from infogan.report import all_alarms, tells

_logger = logging.getLogger(__name__)

SWITCH = "INFOGAN_TRACKING"  # turns tracking off for one command
_OFF = ("0", "false", "no", "off")
URI_VARIABLE = "MLFLOW_TRACKING_URI"

# Produced datasets that a run keeps as artifacts.
_ARTIFACTS = (
    "history",
    "baseline_history",
    "more_histories",
    "seed_metrics",
    "metrics",
    "figures",
    "report",
    "study_runs",
    "study_figures",
    "study_page",
)


class Tracking:
    """One MLflow run for each dataset that a `kedro run` trains, evaluates or reports.

    Evaluation and reporting of their own add to the run that trained the model; an interrupted
    training goes on in the run it began. Nodes of several datasets take turns; the tracker in use
    is that of the node at work.
    """

    def __init__(self) -> None:
        self._settings: TrackingSettings | None = None
        self._project = Path()
        self._home = Path()  # of the store
        self._environment = ""
        self._config: AbstractConfigLoader | None = None
        self._catalog: CatalogProtocol | None = None
        self._run_params: dict[str, Any] = {}
        self._trains: set[str] = set()
        self._left: dict[str, set[str]] = {}  # nodes that have not run yet, by dataset
        self._trackers: dict[str, tracking.Tracker] = {}  # by dataset, once opened
        self._opened: dict[str, tracking.Tracker] = {}  # the same, also when they have ended
        atexit.register(self._end, "KILLED")  # reached with an open run only when interrupted

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the project is and what is to be tracked."""
        try:
            self._settings = TrackingSettings.model_validate(context.config_loader["tracking"])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"tracking.yml: {where}: {first['msg']}.") from None
        self._project = context.project_path
        self._home = outside_of_dvc(context.project_path)
        self._environment = context.env or "base"
        self._config = context.config_loader

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Note what is to be run; nothing is opened before the first node that is worth it."""
        # Whether a run is continued is seen at the training, whatever else could come first.
        self._trains = {_dataset(node) for node in pipeline.nodes if "training" in node.tags}
        self._left = {}
        for node in pipeline.nodes:
            self._left.setdefault(_dataset(node), set()).add(node.name)
        self._catalog = catalog
        self._run_params = run_params
        if self._config is not None:
            self._run_params = run_params | not_committed(
                self._config, self._project, self._environment, run_params, set(self._left)
            )
        self._trackers, self._opened = {}, {}
        tracking.activate(tracking.Tracker())
        tracking.note_command(browsing.command(self._run_params))

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any]
    ) -> None:
        """Open the run at its dataset's first tracked node; log the parameters of each."""
        dataset = _dataset(node)
        tracking.activate(self._trackers.get(dataset, tracking.Tracker()))
        settings = self._settings
        switched_off = os.environ.get(SWITCH, "").lower() in _OFF
        if settings is None or not settings.enabled or switched_off:
            return
        if node_rank() > 0 or not node.tags & set(settings.stages):
            return
        if dataset not in self._trackers:
            if dataset in self._trains and "training" not in node.tags:
                return
            self._open(node, catalog, inputs, settings)
        params: dict[str, Any] = {}
        for name, value in inputs.items():
            if isinstance(value, Options):
                params |= flatten(value, name.rpartition(".")[2])
        tracking.current().log_params(params)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Strike the node off what is left to do of its dataset."""
        self._left[_dataset(node)].discard(node.name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Send final numbers, figures, histories and the report, as soon as they exist."""
        kind = dataset_name.rpartition(".")[2]
        tracker = tracking.current()
        if kind == "metrics":
            self._log_model(dataset_name.rpartition(".")[0], data)  # the numbers are the model's
            tracker.log_metrics(browsing.final_numbers(data))
            self._describe(dataset_name.rpartition(".")[0], data)
        if kind == "study_runs":
            note = browsing.describe_study(tracker.tags(), data["runs"])
            tracker.set_tags({tracking.NOTE: note})
        if kind == "seed_metrics" and len(data.rows) > 1:
            _log_seeds(tracker, data)
        if kind == "record":
            tags = {f"version.{name}": number for name, number in data["versions"].items()}
            tracker.set_tags({"device": data["device"], **tags})
        if kind in _ARTIFACTS and tracker.run_id and self._catalog is not None:
            path = self._catalog.get(dataset_name).path  # type: ignore[union-attr]
            if kind in ("figures", "study_figures"):
                for name in data:
                    tracker.log_artifact(path / f"{name}.png", "figures")
            else:
                tracker.log_artifact(path)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End what has been opened, as planned."""
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """End what has been opened, with the error at the run of the node at work."""
        tracking.current().set_tags({"error": f"{type(error).__name__}: {error}"[:500]})
        self._end("FAILED")

    def where(self, dataset: str) -> str:
        """The run of a data set in MLflow, in words, also once it has ended."""
        tracker = self._opened.get(dataset)
        if tracker is None or tracker.run_id is None:
            return "not tracked"
        own = os.environ.get(URI_VARIABLE)
        page = f"http://127.0.0.1:5000/#/runs/{tracker.run_id}"
        found = f"at {without_password(own)}" if own else f"`make ui`, then {page}"
        lost = ", INCOMPLETE: the store failed on the way (see above)" if tracker.lost else ""
        return f"run {tracker.run_id}, {found}{lost}"

    def _open(
        self,
        node: Node,
        catalog: CatalogProtocol,
        inputs: dict[str, Any],
        settings: TrackingSettings,
    ) -> None:
        dataset, study = _dataset(node), "study" in node.tags
        training = Training.model_validate(catalog.load(f"params:{dataset}.training"))
        sidecar, resume = _earlier_run(node, catalog, inputs, training)
        experiment = settings.experiment.format(dataset=dataset)
        changed = browsing.own_changes(self._run_params, dataset)
        name = browsing.run_name(dataset, self._environment, training, changed)
        if study:
            name = f"{dataset} {self._environment} study"
        tracker = tracking.open_run(*self._store(), experiment, name, resume)
        self._trackers[dataset] = self._opened[dataset] = tracker
        tracking.activate(tracker)
        if not tracker.run_id:
            return
        if sidecar and study:
            note_study(sidecar, tracker.run_id)
        elif sidecar:
            note_training(sidecar, training, tracker.run_id)
        commit, _, dirty = tracking.commit().partition("+")
        if not sidecar and resume:
            # The commit of a run is that of its training; what is added later may be of another.
            tracker.set_tags({f"git_commit_{stage}": commit for stage in node.tags})
            if tracker.resumed:
                return
            commit, _, dirty = catalog.load(f"{dataset}.record")["commit"].partition("+")
        card = catalog.load(f"{dataset}.card") if catalog.exists(f"{dataset}.card") else {}
        elsewhere = "conf_source" in self._run_params
        code = {"git_commit": commit, "git_dirty": bool(dirty) or elsewhere}
        self._introduce(dataset, catalog, card, code, study=study)
        _logger.info(
            "%s: MLflow run %s (%s)",
            data_name(dataset, card),
            tracker.run_id,
            "resumed" if tracker.resumed else "new",
        )

    def _store(self) -> tuple[str, str | None]:
        """The address of MLflow, and of the files of a new experiment unless MLflow decides."""
        uri = os.environ.get(URI_VARIABLE)
        if uri:
            return uri, None
        return tracking.sqlite(self._home / "mlflow.db"), (self._home / "mlartifacts").as_uri()

    def _introduce(
        self,
        dataset: str,
        catalog: CatalogProtocol,
        card: dict[str, Any],
        code: dict[str, Any],
        *,
        study: bool,
    ) -> None:
        """What is known of a run before it has a result."""
        tracker = tracking.current()
        model = Model.model_validate(catalog.load(f"params:{dataset}.model"))
        training = Training.model_validate(catalog.load(f"params:{dataset}.training"))
        reporting = Reporting.model_validate(catalog.load(f"params:{dataset}.reporting"))
        page = f"{dataset}.{'study_page' if study else 'report'}"
        report = catalog.get(page).path  # type: ignore[union-attr]
        changed = browsing.own_changes(self._run_params, dataset)
        told = ", ".join(f"{name}={value}" for name, value in changed.items())
        extended = "" if study else extensions(model, training)  # each recipe has its own
        tags = {
            "dataset": dataset,
            "environment": self._environment,
            **{name: str(value).lower() for name, value in code.items()},
            "report": os.path.relpath(report, self._project),
            browsing.SOURCE: tracking.command(),
            "mlflow.source.git.commit": code["git_commit"],
            **({"changes": told} if told else {}),
            **({"extended": extended} if extended else {}),
            **(data_tags(dataset, card) if card else {}),
        }
        tracker.set_tags({tracking.NOTE: browsing.describe({**tracker.tags(), **tags}), **tags})
        tracker.set_experiment_tags(browsing.experiment_tags(reporting.title, model, training))
        if card:
            tracker.log_data(data_name(dataset, card), card)

    def _describe(self, dataset: str, metrics: dict[str, float]) -> None:
        """The result, in the descriptions of the run and of the runs of its seeds."""
        tracker, catalog = tracking.current(), self._catalog
        if not tracker.run_id or catalog is None:
            return
        records = (catalog.load(f"{dataset}.{name}") for name in ("record", "baseline_record"))
        alarms = list(all_alarms(*records).values())
        seeds = list(_numbers(catalog.load(f"{dataset}.seed_metrics")))
        note = browsing.describe(tracker.tags(), metrics, seeds, alarms)
        tracker.set_tags({tracking.NOTE: note})

    def _log_model(self, dataset: str, metrics: dict[str, float]) -> None:
        """The model that was evaluated, to the run that trained it."""
        tracker, catalog = tracking.current(), self._catalog
        if not tracker.run_id or catalog is None or self._settings is None:
            return
        if catalog.load(f"{dataset}.record")["mlflow_run_id"] != tracker.run_id:
            return
        card = catalog.load(f"{dataset}.card")
        own = {name: value for name, value in metrics.items() if not name.startswith("mean.")}
        part = data_tags(dataset, card).get("partial")
        caveat = f"; partial: {part} images" if part else ""
        tracker.log_model(
            Candidate(
                name=self._settings.model.format(dataset=dataset),
                dataset=data_name(dataset, card),
                weights=catalog.get(f"{dataset}.model").path,  # type: ignore[union-attr]
                categories={
                    **catalog.load(f"{dataset}.categories"),
                    "tells": tells(catalog.load(f"{dataset}.known_factors")),
                    "transforms": card["transforms"],
                },
                metrics=metrics,
                test_sha256=card["splits"]["test"]["sha256"],
                competes=self._settings.best and "partial" not in card,
                words=f"{tracker.tags().get('mlflow.runName')}: {browsing.sentence(own)}{caveat}",
            )
        )

    def _end(self, status: str) -> None:
        """``status`` is of the dataset at work; the others are done, or broken off with it."""
        for dataset, tracker in self._trackers.items():
            others = "KILLED" if self._left[dataset] else "FINISHED"
            tracker.end(status if tracker is tracking.current() else others)
        self._trackers = {}
        tracking.activate(tracking.Tracker())


def _earlier_run(
    node: Node, catalog: CatalogProtocol, inputs: dict[str, Any], training: Training
) -> tuple[Path | None, str | None]:
    """Where a node that may be interrupted notes its run, and the run to go on in, if any.

    1. A training goes on in the run that it began.
    2. A study has one run, however often it is gone on with.
    3. What is found of a model is added to the run that trained it.
    """
    dataset = _dataset(node)
    if f"{dataset}.checkpoints" in inputs:
        sidecar = inputs[f"{dataset}.checkpoints"] / identity(dataset, inputs) / SIDECAR
        return sidecar, interrupted_run(sidecar, training) if training.resume == "auto" else None
    if "study" in node.tags:
        sidecar = catalog.load(f"{dataset}.study") / SIDECAR
        return sidecar, noted_run(sidecar)
    if catalog.exists(f"{dataset}.record"):
        return None, catalog.load(f"{dataset}.record")["mlflow_run_id"]
    return None, None


def _log_seeds(tracker: tracking.Tracker, table: Rows) -> None:
    """Final numbers of each seed to the run that trained it."""
    for numbers in _numbers(table):
        child = tracker.child(f"seed {numbers['seed']:.0f}")
        child.log_metrics(browsing.final_numbers(numbers))
        tags = child.tags()
        alarms = [words for name, words in tags.items() if name.startswith("alarm.")]
        child.set_tags({tracking.NOTE: browsing.describe(tags, numbers, alarms=alarms)})
        child.end("FINISHED")


def _numbers(table: Rows) -> Iterator[dict[str, float]]:
    """The rows of a table by the names of its columns, without what is missing."""
    for row in table.rows:
        pairs = zip(table.columns, row, strict=True)
        yield {name: value for name, value in pairs if value is not None}


def _dataset(node: Node) -> str:
    return node.namespace or "infogan"
