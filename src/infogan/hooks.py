"""What happens around `kedro run`: guards before it, tracking beside it, findings after it."""

import atexit
import gc
import hashlib
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np
from filelock import FileLock, Timeout
from kedro.config import AbstractConfigLoader, OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import ValidationError

from infogan import browsing, index, tracking
from infogan.datasets.values import Rows
from infogan.errors import UserError, without_password
from infogan.files import atomic
from infogan.launcher import NODE_RANK, node_rank
from infogan.options import (
    BLOCKS,
    FURTHER_BLOCKS,
    Data,
    Evaluation,
    Model,
    Options,
    Reporting,
    TrackingSettings,
    Training,
    check_blocks,
    extensions,
    fingerprint,
    flatten,
)
from infogan.registry import Candidate
from infogan.report import findings, tells

_logger = logging.getLogger(__name__)

SWITCH = "INFOGAN_TRACKING"  # 0 turns tracking off for one command
URI_VARIABLE = "MLFLOW_TRACKING_URI"


def _datasets(pipeline: Pipeline) -> list[str]:
    return sorted({node.namespace for node in pipeline.nodes if node.namespace})


class Guards:
    """Refuse what cannot work before anything is computed; let one run at a time write."""

    def __init__(self, tracking_hooks: "Tracking") -> None:
        self._tracking = tracking_hooks
        self._locks: list[FileLock] = []
        self._environment = ""
        self._config: AbstractConfigLoader | None = None
        # Else Python looks for garbage among half a million objects before it ends: seconds, which
        # somebody who interrupts does not have.
        atexit.register(gc.freeze)

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember what a result is to be compared with."""
        self._environment = context.env or "base"
        self._config = context.config_loader

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Check the parameters as a whole, and take the lock of every dataset."""
        _refuse_ways_to_run(run_params)
        if self._config is not None:
            _refuse_a_folder_of_others(self._environment, self._config)
        given = run_params.get("runtime_params") or {}
        _refuse_unknown_names(catalog.load("parameters"), given, _datasets(pipeline))
        for dataset in _datasets(pipeline):
            blocks = {
                name: kind.model_validate(catalog.load(f"params:{dataset}.{name}"))
                for name, kind in (("data", Data), ("model", Model), ("training", Training))
            }
            reporting = Reporting.model_validate(catalog.load(f"params:{dataset}.reporting"))
            try:
                check_blocks(**blocks)  # type: ignore[arg-type]
                reporting.check_column_order(blocks["model"])  # type: ignore[arg-type]
            except UserError as error:
                raise UserError(f"Parameters of {dataset}: {error}") from None
        if threading.current_thread() is threading.main_thread():  # else Python forbids it
            # A polite kill ends like Ctrl-C: saved, and on record as killed.
            signal.signal(signal.SIGTERM, _interrupt)
        self._release()
        if node_rank() > 0:
            _help(pipeline, catalog)
        else:
            for dataset in _datasets(pipeline):
                self._lock(dataset, catalog.load(f"{dataset}.checkpoints"))

    @hook_impl
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """A training needs a batch, and clusters an image each, however many images turned out to
        be usable.
        """
        training = next((v for v in inputs.values() if isinstance(v, Training)), None)
        model = next((v for v in inputs.values() if isinstance(v, Model)), None)
        card = next((v for name, v in inputs.items() if name.endswith(".card")), None)
        if not (training and model and card):
            return
        arrays = next((v for name, v in inputs.items() if name.endswith(".images")), None)
        if arrays is not None and any(
            name.endswith((".checkpoints", ".study")) for name in inputs
        ):
            _refuse_other_images(arrays["train"], card["splits"]["train"])
        images = card["splits"]["train"]["images"]
        if images < training.batch_size:
            raise UserError(
                f"training.batch_size is {training.batch_size}, but there are only {images} "
                "images to train on; a batch cannot be larger than the data."
            )
        if training.clustering:
            name = training.clustering.code
            categories = next(code.width for code in model.codes if code.name == name)
            if images < categories:
                raise UserError(
                    f"training.clustering makes a cluster for each of the {categories} categories "
                    f"of {name}, but there are only {images} images to train on: it takes one "
                    "for each at least."
                )

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Clear what a finished run no longer needs, and say what it found."""
        outputs = pipeline.all_outputs()
        for dataset in _datasets(pipeline):
            if f"{dataset}.record" in outputs and node_rank() == 0:
                _forget(dataset, catalog)
            if f"{dataset}.card" in outputs:
                _clear(catalog.load(f"{dataset}.workspace"))
        self._release()
        told = [name for name in _datasets(pipeline) if f"{name}.report" in outputs]
        for dataset in told:
            _tell(dataset, catalog, self._tracking.where(dataset))
        if told and self._config is not None:
            base = _written_in_base(self._config)
            page = _write_index(told[0], catalog, base, self._environment)
            click.echo(f"\nAll data sets: {page}")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let others run."""
        self._release()

    def _lock(self, dataset: str, folder: Path) -> None:
        lock = FileLock(folder.parent / f".{dataset}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._release()
            raise UserError(
                f"Another run is at work on {dataset} in {folder.parent.parent}: wait until it "
                "ends, or use another environment (--env), which writes to a folder of its own."
            ) from None
        self._locks.append(lock)

    def _release(self) -> None:
        while self._locks:
            self._locks.pop().release()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _refuse_ways_to_run(run_params: Mapping[str, Any]) -> None:
    """UserError for runners that mix runs of MLflow up and are deaf to Ctrl-C, and for outputs
    that would be taken for those of other parameters.
    """
    runner = re.search(r"\w+Runner\b", str(run_params.get("runner")))
    if runner and runner[0] != "SequentialRunner":
        raise UserError(
            f"--runner={runner[0]} cannot be used: MLflow's runs and Ctrl-C want one node at a "
            "time. Leave it out; a training uses all cores by itself."
        )
    if run_params.get("only_missing_outputs"):
        raise UserError(
            "--only-missing-outputs cannot be used: it does not see by which parameters the "
            "outputs were made. `dvc repro` makes what is missing or stale, and no more."
        )


def _refuse_a_folder_of_others(environment: str, config: AbstractConfigLoader) -> None:
    """UserError where an environment would write over the results of conf/base."""
    if environment in ("base", "local"):
        return
    root = _base(config)["globals"]["data_root"]
    if config["globals"]["data_root"] == root:
        raise UserError(
            f"conf/{environment} has no data folder of its own, so its results would replace "
            f"those of conf/base in {root}: give it a file globals.yml with the line "
            f"`data_root: {root}/{environment}`."
        )


def _refuse_other_images(train: np.ndarray, described: Mapping[str, Any]) -> None:
    """UserError if an ingestion was killed between images and card, or one was replaced."""
    same = len(train) == described["images"]
    if same and train.nbytes <= _HASHED:
        same = hashlib.sha256(np.ascontiguousarray(train).data).hexdigest() == described["sha256"]
    if not same:
        raise UserError(
            "The images to train on are not those that card.json beside them describes: run the "
            "ingestion again."
        )


def _refuse_unknown_names(
    parameters: Mapping[str, Any], given: Mapping[str, Any], at_work: Collection[str]
) -> None:
    """UserError for what would be ignored in silence: a data set or a block that nobody reads."""

    def hint(name: str, known: Collection[str]) -> str:
        close = get_close_matches(str(name), known, n=1)
        return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."

    datasets = sorted({name.partition(".")[0] for name in pipelines} - {"__default__"})
    blocks = [*BLOCKS, *FURTHER_BLOCKS]
    for dataset, written in parameters.items():
        if dataset not in datasets:
            raise UserError(
                f"The parameters have {dataset!r}, which is no data set; {hint(dataset, datasets)}"
            )
        if not isinstance(written, Mapping):
            raise UserError(
                f"The parameters of {dataset} are {written!r}, but must be blocks: "
                f"{', '.join(blocks)}."
            )
        for name in written:
            if name not in blocks:
                strange = f"{dataset}.{name}"
                raise UserError(
                    f"The parameters have {strange}, which is no block; {hint(name, blocks)}"
                )
    for dataset in given:
        if dataset not in at_work:
            raise UserError(
                f"--params has {dataset}, but what is to be run is of {', '.join(at_work)} alone."
            )


def _help(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Keep in memory what this machine, which only helps another one to train, would write."""
    for node in pipeline.nodes:
        training = Training.model_validate(catalog.load(f"params:{node.namespace}.training"))
        if "training" not in node.tags or training.nodes == 1:
            raise UserError(
                f"{NODE_RANK} is {node_rank()}, so this machine helps machine 0 to train, but "
                f"{node.name} is for one machine: run a pipeline DATASET.training whose "
                "training.nodes says how many there are."
            )
    for name in pipeline.all_outputs():
        catalog[name] = MemoryDataset()


def _forget(dataset: str, catalog: CatalogProtocol) -> None:
    """Remove the checkpoints of the training that is now finished, and of no other.

    Those of seeds and iterations that it did not reach belong to one that may still go on.
    """
    folder = catalog.load(f"{dataset}.checkpoints")
    names = [f"{dataset}.card", f"params:{dataset}.model", f"params:{dataset}.training"]
    inputs = {name: catalog.load(name) for name in names}
    own = folder / _identity(dataset, inputs)
    training: Training = inputs[f"params:{dataset}.training"]
    finished = {f"infogan.{seed}": training.iterations for seed in training.seeds}
    finished[f"baseline.{training.seed}"] = training.baseline_iterations
    for label, iterations in finished.items():
        for path in own.glob(f"{label}.*.pt"):
            if int(path.suffixes[-2].removeprefix(".")) <= iterations:
                path.unlink()
        for path in own.glob(f".{label}.*.tmp.pt"):  # left by a killed process
            path.unlink()
    if any(own.glob("*.pt")):
        _note(own / _SIDECAR, {"runs": _waiting(own / _SIDECAR, training)})
    else:
        (own / _SIDECAR).unlink(missing_ok=True)
    for empty in (own, folder):
        if empty.exists() and not any(empty.iterdir()):
            empty.rmdir()


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _tell(dataset: str, catalog: CatalogProtocol, where: str) -> None:
    """The last lines of a run: what was found, and where to look."""
    report = catalog.get(f"{dataset}.report").path  # type: ignore[union-attr]
    record = catalog.load(f"{dataset}.record")
    name = _data_name(dataset, catalog.load(f"{dataset}.card"))
    click.echo(f"\n{name}: what was found")
    extended = extensions(
        Model.model_validate(catalog.load(f"params:{dataset}.model")),
        Training.model_validate(catalog.load(f"params:{dataset}.training")),
    )
    if extended:
        click.echo(f"  {extended}")
    for sentence in findings(catalog.load(f"{dataset}.metrics"), record["alarms"].values()):
        click.echo(f"  {sentence}")
    click.echo(f"Report:  {report}")
    click.echo(f"Figures: {report.parent / 'figures'}{os.sep}*.png")
    click.echo(f"MLflow:  {where}")


def _written_in_base(config: AbstractConfigLoader) -> dict[str, Any]:
    """The parameters of conf/base alone, whatever the environment and the command line say."""
    written: dict[str, Any] = _base(config)["parameters"]
    return written


def _base(config: AbstractConfigLoader) -> OmegaConfigLoader:
    return OmegaConfigLoader(
        config.conf_source, env="base", base_env="base", default_run_env="base"
    )


def _write_index(
    reported: str, catalog: CatalogProtocol, base: dict[str, Any], environment: str
) -> Path:
    """The page of all data sets whose reports lie beside that of ``reported``.

    No output of a node: it depends on what else is there.
    """
    folder: Path = catalog.get(f"{reported}.report").path.parent.parent  # type: ignore[union-attr]
    page = folder / "index.html"
    # Two runs may end at once; the later one finds both reports.
    with FileLock(folder / ".index.lock"):
        entries = [_entry(dataset, catalog, base[dataset]) for dataset in sorted(base)]
        with atomic(page) as temporary:
            temporary.write_text(index.page(entries, environment))
    return page


def _entry(dataset: str, catalog: CatalogProtocol, base: dict[str, Any]) -> index.Entry:
    """What there is to say of a data set; damage to its files is no harm to a run of another."""
    entry = index.Entry(dataset, title=dataset, claims=())
    try:
        reporting = Reporting.model_validate(catalog.load(f"params:{dataset}.reporting"))
        entry = index.without_numbers(dataset, reporting, "no report yet.")
        if catalog.exists(f"{dataset}.report"):
            entry = _reported(dataset, catalog, reporting, base)
    except (DatasetError, KeyError, ValueError, UserError) as error:
        entry = replace(entry, why=f"cannot be shown: {error}")
    return entry


def _reported(
    dataset: str, catalog: CatalogProtocol, reporting: Reporting, base: dict[str, Any]
) -> index.Entry:
    names = ("metrics", "record", "card", "model", "report")
    metrics, record, card, trained, report = (catalog.load(f"{dataset}.{name}") for name in names)
    if not index.belongs(report, metrics, record):
        again = f"kedro run --pipelines={dataset}.evaluation,{dataset}.reporting"
        why = f"trained or evaluated again since its report was made; `{again}` makes it anew."
        return index.without_numbers(dataset, reporting, why)

    evaluation = Evaluation.model_validate(catalog.load(f"params:{dataset}.evaluation"))
    # The card has counted what the parameters may say in percent.
    written = Data.model_validate(catalog.load(f"params:{dataset}.data")).model_dump(mode="json")
    splits = {
        name: written[name] if "%" in str(written[name]) else each["from"]
        for name, each in card["splits"].items()
    }
    settings = index.departures(
        {
            "data": splits,
            "model": trained.card["model"],
            "training": trained.card["training"],
            "evaluation": evaluation.model_dump(mode="json"),
        },
        {
            name: BLOCKS[name].model_validate(base[name]).model_dump(mode="json")
            for name in ("data", "model", "training", "evaluation")
        },
    )
    figures = catalog.get(f"{dataset}.report").path.parent / "figures"  # type: ignore[union-attr]
    return index.reported(
        dataset,
        reporting,
        metrics,
        record,
        card,
        settings,
        [path.stem for path in sorted(figures.glob("*.png"))],
        browsing.sentence(metrics),
        base["training"]["iterations"],
        extensions(
            Model.model_validate(trained.card["model"]),
            Training.model_validate(trained.card["training"]),
        ),
    )


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
_HASHED = 1 << 30  # bytes of images; of more, which take seconds, the number is compared
_SIDECAR = "mlflow_run.json"  # beside the checkpoints: which run they belong to


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
        self._home = _outside_of_dvc(context.project_path)
        self._environment = context.env or "base"
        self._config = context.config_loader

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Nothing is opened before the first node that is worth it."""
        # Whether a run is continued is seen at the training, whatever else could come first.
        self._trains = {_dataset(node) for node in pipeline.nodes if "training" in node.tags}
        self._left = {}
        for node in pipeline.nodes:
            self._left.setdefault(_dataset(node), set()).add(node.name)
        self._catalog = catalog
        self._run_params = {**run_params, **self._not_committed(run_params, set(self._left))}
        self._trackers, self._opened = {}, {}
        tracking.activate(tracking.Tracker())

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any]
    ) -> None:
        """Open the run at its dataset's first tracked node; log the parameters of each."""
        dataset = _dataset(node)
        tracking.activate(self._trackers.get(dataset, tracking.Tracker()))
        settings = self._settings
        if settings is None or not settings.enabled or os.environ.get(SWITCH, "1") == "0":
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
        """What is left to do of its dataset."""
        self._left[_dataset(node)].discard(node.name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Final numbers, figures, histories and the report, as soon as they exist."""
        kind = dataset_name.rpartition(".")[2]
        tracker = tracking.current()
        if kind == "metrics":
            self._log_model(dataset_name.rpartition(".")[0], data)  # the numbers are the model's
            tracker.log_metrics(browsing.final_numbers(data))
            self._describe(dataset_name.rpartition(".")[0], data)
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
        """The end as planned."""
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """The end by an error."""
        tracking.current().set_tags({"error": f"{type(error).__name__}: {error}"[:500]})
        self._end("FAILED")

    def where(self, dataset: str) -> str:
        """The run of a data set in MLflow, in words."""
        tracker = self._opened.get(dataset)
        if tracker is None or tracker.run_id is None:
            return "not tracked"
        own = os.environ.get(URI_VARIABLE)
        page = f"http://127.0.0.1:5000/#/runs/{tracker.run_id}"
        found = f"at {without_password(own)}" if own else f"`make ui`, then {page}"
        lost = ", INCOMPLETE: the store failed on the way (see above)" if tracker.lost else ""
        return f"run {tracker.run_id}, {found}{lost}"

    def _not_committed(
        self, run_params: Mapping[str, Any], datasets: Collection[str]
    ) -> dict[str, Any]:
        """Parameters of these data sets as if conf/local had been typed, which git does not know;
        and where the configuration lies, if elsewhere.
        """
        config = self._config
        if config is None:
            return {}
        found: dict[str, Any] = {}
        source = Path(config.conf_source)
        if (self._project / source).resolve() != (self._project / "conf").resolve():
            found["conf_source"] = str(source)
        local = self._environment in ("base", "local") and run_params.get("env") != "base"
        if local and any((self._project / source / "local").rglob("parameters*")):
            differ = _differences(config["parameters"], _written_in_base(config))
            found["runtime_params"] = _merged(
                {name: each for name, each in differ.items() if name in datasets},
                run_params.get("runtime_params") or {},
            )
        return found

    def _open(
        self,
        node: Node,
        catalog: CatalogProtocol,
        inputs: dict[str, Any],
        settings: TrackingSettings,
    ) -> None:
        dataset = _dataset(node)
        resume = None
        sidecar: Path | None = None
        training = Training.model_validate(catalog.load(f"params:{dataset}.training"))
        trains = f"{dataset}.checkpoints" in inputs
        if trains:
            sidecar = inputs[f"{dataset}.checkpoints"] / _identity(dataset, inputs) / _SIDECAR
            if training.resume == "auto":
                resume = _interrupted_run(sidecar, training)
        elif f"{dataset}.study" in inputs:  # one run, however often it is gone on with
            sidecar = inputs[f"{dataset}.study"] / _SIDECAR
            resume = _noted_run(sidecar)
        elif catalog.exists(f"{dataset}.record"):
            resume = catalog.load(f"{dataset}.record")["mlflow_run_id"]

        uri = os.environ.get(URI_VARIABLE)
        artifacts = None
        if not uri:
            uri = f"sqlite:///{self._home / 'mlflow.db'}"
            artifacts = (self._home / "mlartifacts").as_uri()
        experiment = settings.experiment.format(dataset=dataset)
        changed = browsing.own_changes(self._run_params, dataset)
        name = browsing.run_name(dataset, self._environment, training, changed)
        if "study" in node.tags:
            name = f"{dataset} {self._environment} study"
        tracker = tracking.open_run(uri, artifacts, experiment, name, resume)
        self._trackers[dataset] = self._opened[dataset] = tracker
        tracking.activate(tracker)
        if sidecar and tracker.run_id:
            noted = {"run_id": tracker.run_id}
            _note(sidecar, _with(sidecar, training, tracker.run_id) if trains else noted)
        if not tracker.run_id:
            return
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
        self._introduce(dataset, catalog, card, code)
        _logger.info(
            "%s: MLflow run %s (%s)",
            _data_name(dataset, card),
            tracker.run_id,
            "resumed" if tracker.resumed else "new",
        )

    def _introduce(
        self, dataset: str, catalog: CatalogProtocol, card: dict[str, Any], code: dict[str, Any]
    ) -> None:
        """What is known of a run before it has a result."""
        tracker = tracking.current()
        model = Model.model_validate(catalog.load(f"params:{dataset}.model"))
        training = Training.model_validate(catalog.load(f"params:{dataset}.training"))
        reporting = Reporting.model_validate(catalog.load(f"params:{dataset}.reporting"))
        report = catalog.get(f"{dataset}.report").path  # type: ignore[union-attr]
        changed = browsing.own_changes(self._run_params, dataset)
        told = ", ".join(f"{name}={value}" for name, value in changed.items())
        extended = extensions(model, training)
        tags = {
            "dataset": dataset,
            "environment": self._environment,
            **{name: str(value).lower() for name, value in code.items()},
            "report": os.path.relpath(report, self._project),
            browsing.SOURCE: browsing.command(self._run_params),
            "mlflow.source.git.commit": code["git_commit"],
            **({"changes": told} if told else {}),
            **({"extended": extended} if extended else {}),
            **(_data_tags(dataset, card) if card else {}),
        }
        tracker.set_tags({tracking.NOTE: browsing.describe({**tracker.tags(), **tags}), **tags})
        tracker.set_experiment_tags(browsing.experiment_tags(reporting.title, model, training))
        if card:
            tracker.log_data(_data_name(dataset, card), card)

    def _describe(self, dataset: str, metrics: dict[str, float]) -> None:
        """The result, in the descriptions of the run and of the runs of its seeds."""
        tracker, catalog = tracking.current(), self._catalog
        if not tracker.run_id or catalog is None:
            return
        alarms = list(catalog.load(f"{dataset}.record")["alarms"].values())
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
        tracker.log_model(
            Candidate(
                name=self._settings.model.format(dataset=dataset),
                dataset=_data_name(dataset, card),
                weights=catalog.get(f"{dataset}.model").path,  # type: ignore[union-attr]
                categories={
                    **catalog.load(f"{dataset}.categories"),
                    "tells": tells(catalog.load(f"{dataset}.known_factors")),
                },
                metrics=metrics,
                test_sha256=card["splits"]["test"]["sha256"],
                competes=self._settings.best and "partial" not in card,
                words=f"{tracker.tags().get('mlflow.runName')}: {browsing.sentence(own)}",
            )
        )

    def _end(self, status: str) -> None:
        """``status`` is of the dataset at work; the others are done, or broken off with it."""
        for dataset, tracker in self._trackers.items():
            others = "KILLED" if self._left[dataset] else "FINISHED"
            tracker.end(status if tracker is tracking.current() else others)
        self._trackers = {}
        tracking.activate(tracking.Tracker())


def _outside_of_dvc(project: Path) -> Path:
    """The project that an experiment of DVC runs in a copy of, which DVC removes at its end."""
    for folder in project.parents:
        if (folder / ".dvc" / "tmp" / "exps") in project.parents:
            return folder
    return project


def _differences(ours: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """What is otherwise in the first one, with the keys that lead to it."""
    found: dict[str, Any] = {}
    for key, value in ours.items():
        other = others.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            inner = _differences(value, other)
            if inner:
                found[key] = inner
        elif key not in others or value != other:
            found[key] = value
    return found


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the second one where they disagree."""
    merged = dict(first)
    for key, value in second.items():
        inner = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


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


def _data_name(dataset: str, card: dict[str, Any]) -> str:
    """The dataset, with the model it was rendered from if there is one."""
    model = card.get("source", {}).get("model")
    return f"{dataset} ({model})" if model else dataset


def _data_tags(dataset: str, card: dict[str, Any]) -> dict[str, str]:
    """What a run was made from; of a part of a data set, how large a part."""
    tags = {
        "data": _data_name(dataset, card),
        "data_sha256": card["splits"]["train"]["sha256"],
    }
    if "partial" in card:
        tags["partial"] = f"{card['partial']['images']} of {card['partial']['of']}"
    return tags


def _identity(dataset: str, inputs: dict[str, Any]) -> str:
    return fingerprint(
        inputs[f"params:{dataset}.model"],
        inputs[f"params:{dataset}.training"],
        inputs[f"{dataset}.card"]["splits"]["train"]["sha256"],
    )


# Trainings that differ in seeds or length alone share a folder of checkpoints. One may wait there,
# interrupted, while another is made, so the note beside the checkpoints has a run for each.


def _interrupted_run(sidecar: Path, training: Training) -> str | None:
    """The run whose training was interrupted, if there is a checkpoint to continue from."""
    reached = [
        iteration
        for seed in training.seeds
        for path in sidecar.parent.glob(f"infogan.{seed}.*.pt")
        if (iteration := int(path.suffixes[-2].removeprefix("."))) <= training.iterations
    ]
    # The length may be another than before, but the run has come as far as its checkpoints.
    runs = [
        run
        for run in _noted(sidecar).get("runs", [])
        if run["seeds"] == list(training.seeds) and reached and run["iterations"] >= max(reached)
    ]
    return min(runs, key=lambda run: run["iterations"])["run_id"] if runs else None


def _with(sidecar: Path, training: Training, run_id: str) -> dict[str, Any]:
    """The note with the run of a training that begins or goes on."""
    others = [run for run in _waiting(sidecar, training) if run["run_id"] != run_id]
    own = {"seeds": list(training.seeds), "iterations": training.iterations, "run_id": run_id}
    return {"runs": [*others, own]}


def _waiting(sidecar: Path, training: Training) -> list[dict[str, Any]]:
    """The noted runs of other trainings than this one."""
    own = (list(training.seeds), training.iterations)
    runs = _noted(sidecar).get("runs", [])
    return [run for run in runs if (run["seeds"], run["iterations"]) != own]


def _noted_run(sidecar: Path) -> str | None:
    """The run of a study."""
    return _noted(sidecar).get("run_id")


def _noted(sidecar: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = json.loads(sidecar.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return noted


def _note(sidecar: Path, noted: dict[str, Any]) -> None:
    with atomic(sidecar) as temporary:
        temporary.write_text(json.dumps(noted))
