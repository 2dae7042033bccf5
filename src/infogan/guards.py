"""Around `kedro run`: refuse what cannot work, let one run write, tidy up, say what was found."""

import atexit
import gc
import hashlib
import logging
import re
import signal
import threading
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np
from filelock import FileLock, Timeout
from kedro.config import AbstractConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol, MemoryDataset
from kedro.pipeline import Pipeline
from omegaconf import OmegaConf

from infogan.continuation import forget
from infogan.errors import UserError
from infogan.launcher import NODE_RANK, node_rank
from infogan.options import (
    BLOCKS,
    FURTHER_BLOCKS,
    Data,
    Evaluation,
    Model,
    Options,
    Reporting,
    Study,
    Training,
    check_blocks,
)
from infogan.provenance import conf_base, written_in_base
from infogan.summary import tell, tell_study, write_index

_logger = logging.getLogger(__name__)

_HASHED = 1 << 30  # bytes of images; of more, which take seconds, the number is compared


def _datasets(pipeline: Pipeline) -> list[str]:
    return sorted({node.namespace for node in pipeline.nodes if node.namespace})


class Guards:
    """Refuse what cannot work before anything is computed; let one run at a time write."""

    def __init__(self, where: Callable[[str], str]) -> None:
        self._where = where  # the run of a data set in MLflow, in words
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
        datasets = _datasets(pipeline)
        _refuse_ways_to_run(run_params)
        if self._config is not None:
            _refuse_a_folder_of_others(self._environment, self._config)
        given = run_params.get("runtime_params") or {}
        _refuse_unknown_names(catalog.load("parameters"), given, datasets)
        if self._config is not None:
            _refuse_an_environment_of_others(self._environment, self._config, datasets)
        for dataset in datasets:
            _refuse_blocks_that_do_not_fit(dataset, catalog)
            _warn_of_slow_arithmetic(dataset, catalog, pipeline.all_outputs())
            if node_rank() == 0:  # the others evaluate nothing
                _refuse_wrong_inception_weights(dataset, catalog, pipeline.all_outputs())
        if threading.current_thread() is threading.main_thread():  # else Python forbids it
            # A polite kill ends like Ctrl-C: saved, and on record as killed.
            signal.signal(signal.SIGTERM, _interrupt)
        self._release()
        if node_rank() > 0:
            _help(pipeline, catalog)
        else:
            for dataset in datasets:
                self._lock(dataset, catalog.load(f"{dataset}.checkpoints"))

    @hook_impl
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """See that a training has the images that it is to have, and enough of them, however many
        turned out to be usable.
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
        _refuse_few_images(card["splits"]["train"]["images"], model, training)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Clear what a finished run no longer needs, and say what it found."""
        datasets, outputs = _datasets(pipeline), pipeline.all_outputs()
        for dataset in datasets:
            trained = {f"{dataset}.record", f"{dataset}.baseline_record"} & outputs
            if trained and node_rank() == 0:
                forget(dataset, catalog, trained)
            if f"{dataset}.card" in outputs:
                _clear(catalog.load(f"{dataset}.workspace"))
        self._release()
        told = [name for name in datasets if f"{name}.report" in outputs]
        for dataset in told:
            tell(dataset, catalog, self._where(dataset))
        for dataset in datasets:
            if f"{dataset}.study_page" in outputs:
                tell_study(dataset, catalog, self._where(dataset))
        if told and self._config is not None:
            base = written_in_base(self._config)
            page = write_index(told[0], catalog, base, self._environment)
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
    root = conf_base(config)["globals"]["data_root"]
    if config["globals"]["data_root"] == root:
        raise UserError(
            f"conf/{environment} has no data folder of its own, so its results would replace "
            f"those of conf/base in {root}: give it a file globals.yml with the line "
            f"`data_root: {root}/{environment}`."
        )


def _refuse_an_environment_of_others(
    environment: str, config: AbstractConfigLoader, at_work: Collection[str]
) -> None:
    """UserError where results of conf/base would pass for those of an environment, which has
    parameters of other data sets alone.
    """
    if environment in ("base", "local"):
        return
    folder = Path(config.conf_source, environment)
    written = {
        str(name)
        for file in folder.rglob("*")
        if _holds_parameters(file.relative_to(folder))
        for name in OmegaConf.load(file)
    }
    for dataset in at_work:
        if written and dataset not in written:
            raise UserError(
                f"conf/{environment} is for {', '.join(sorted(written))}; of {dataset} it says "
                "nothing, so that the parameters of conf/base would pass for its own: leave --env "
                f"out. (If they are meant, a file parameters_{dataset}.yml with the line "
                f"`{dataset}: {{}}` says so.)"
            )


def _holds_parameters(path: Path) -> bool:
    """Whether Kedro takes a file of an environment for one of parameters."""
    shown = not any(part.startswith(".") for part in path.parts)
    named = any(part.startswith("parameters") for part in path.parts)
    return shown and named and path.suffix in (".yml", ".yaml", ".json")


def _refuse_blocks_that_do_not_fit(dataset: str, catalog: CatalogProtocol) -> None:
    """UserError where blocks of parameters, each in order by itself, contradict each other."""
    data = Data.model_validate(catalog.load(f"params:{dataset}.data"))
    model = Model.model_validate(catalog.load(f"params:{dataset}.model"))
    training = Training.model_validate(catalog.load(f"params:{dataset}.training"))
    reporting = Reporting.model_validate(catalog.load(f"params:{dataset}.reporting"))
    try:
        check_blocks(data, model, training)
        reporting.check_column_order(model)
    except UserError as error:
        raise UserError(f"Parameters of {dataset}: {error}") from None


def _warn_of_slow_arithmetic(
    dataset: str, catalog: CatalogProtocol, outputs: Collection[str]
) -> None:
    """Say that a training will take bfloat16 of a CPU that can only imitate it."""
    training = Training.model_validate(catalog.load(f"params:{dataset}.training"))
    precisions: list[Any] = []
    if {f"{dataset}.record", f"{dataset}.baseline_record"} & set(outputs):
        precisions.append(training.precision)
    if f"{dataset}.study_runs" in outputs:
        study = Study.model_validate(catalog.load(f"params:{dataset}.study"))
        recipes = (study.common, *study.chosen.values())
        precisions += [recipe.training.get("precision") for recipe in recipes]
    if "bfloat16" not in precisions:
        return
    import torch

    if torch.cuda.is_available() and training.device != "cpu":
        return
    # Older versions of torch do not tell.
    able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if able and not any(has for name, has in able.items() if "bf16" in name):
        _logger.warning(
            "%s: training.precision is bfloat16, which this processor has no instructions for: "
            "it takes many times as long as float32 (docs/benchmarks.md).",
            dataset,
        )


def _refuse_wrong_inception_weights(
    dataset: str, catalog: CatalogProtocol, outputs: Collection[str]
) -> None:
    """UserError before a training, not hours later, where the FID that is asked for cannot be."""
    evaluation = Evaluation.model_validate(catalog.load(f"params:{dataset}.evaluation"))
    waiting = {f"{dataset}.record", f"{dataset}.generation"} & set(outputs)
    if waiting and evaluation.inception_weights is not None:
        from infogan.inception import load_metric

        load_metric(evaluation.inception_weights)


def _refuse_few_images(images: int, model: Model, training: Training) -> None:
    """UserError if there are fewer images than a batch takes, or clusters, of one image each."""
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
        for name, block in written.items():
            if name not in blocks:
                strange = f"{dataset}.{name}"
                raise UserError(
                    f"The parameters have {strange}, which is no block; {hint(name, blocks)}"
                )
            if not isinstance(block, Mapping | Options):  # the latter once Kedro has read it
                raise UserError(
                    f"The parameters have {block!r} as {dataset}.{name}, which must be a block of "
                    "keys and their values."
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


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
