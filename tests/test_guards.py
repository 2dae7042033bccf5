"""What is refused before anything is computed."""

import copy
import re
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, DatasetNotFoundError, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import ThreadRunner

from infogan.errors import UserError
from infogan.guards import (
    Guards,
    _refuse_unknown_names,
    _refuse_wrong_inception_weights,
    _warn_of_slow_arithmetic,
)
from infogan.launcher import NODE_RANK
from infogan.options import BLOCKS, Recipe
from infogan.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("runner", ["ThreadRunner", "ParallelRunner", ThreadRunner()])
def test_nodes_run_one_at_a_time(runner: object) -> None:
    named = {"runner": getattr(runner, "__name__", str(runner))}  # as Kedro tells of it
    with pytest.raises(UserError, match=r"(Thread|Parallel)Runner cannot be used"):
        Guards(str).before_pipeline_run(named, Pipeline([]), DataCatalog())


def test_old_outputs_do_not_pass_for_those_of_new_parameters() -> None:
    with pytest.raises(UserError, match="only-missing-outputs cannot be used"):
        Guards(str).before_pipeline_run(
            {"only_missing_outputs": True}, Pipeline([]), DataCatalog()
        )


@pytest.mark.parametrize("own", [{}, {"mine": {"data_root": "data/mine"}}])
def test_an_environment_has_a_data_folder_of_its_own(tmp_path: Path, own: dict[str, Any]) -> None:
    (tmp_path / "conf" / "mine").mkdir(parents=True)
    for environment, globals_yml in ({"base": {"data_root": "data"}} | own).items():
        file = tmp_path / "conf" / environment / "globals.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(globals_yml))
    loader = OmegaConfigLoader(str(tmp_path / "conf"), env="mine", **CONFIG_LOADER_ARGS)
    guards = Guards(str)
    guards.after_context_created(SimpleNamespace(env="mine", config_loader=loader))  # type: ignore[arg-type]
    catalog = DataCatalog({"parameters": MemoryDataset({})})
    if own:
        guards.before_pipeline_run({}, Pipeline([]), catalog)
        return
    with pytest.raises(UserError, match=r"conf/mine has no data folder.*data_root: data/mine"):
        guards.before_pipeline_run({}, Pipeline([]), catalog)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """What is said of a run of a data set in an environment; nothing if it is let through."""
    for environment, name, written in (
        ("base", "globals", {"data_root": "data"}),
        ("base", "parameters_digits", {"digits": {}}),
        ("width", "globals", {"data_root": "data/width"}),
        ("width", "parameters_chairs", {"chairs": {"training": {"lr_g": 1.0e-3}}}),
        ("width", "parameters/faces", {"faces": {}}),
        ("width", ".checkpoints/parameters_digits", {"digits": {}}),
        ("mine", "globals", {"data_root": "data/mine"}),
        ("misspelt", "globals", {"data_root": "data/misspelt"}),
        ("misspelt", "parameters_chairs", {"chair": {}}),
    ):
        file = tmp_path / environment / f"{name}.yml"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(yaml.safe_dump(written))
    bootstrap_project(ROOT)

    def told(environment: str, dataset: str) -> str:
        loader = OmegaConfigLoader(str(tmp_path), env=environment, **CONFIG_LOADER_ARGS)
        guards = Guards(str)
        guards.after_context_created(
            SimpleNamespace(env=environment, config_loader=loader)  # type: ignore[arg-type]
        )
        catalog = DataCatalog({"parameters": MemoryDataset(loader["parameters"])})
        run = Pipeline([node(lambda: 0, None, "x", name="draw")], namespace=dataset)
        with pytest.raises((UserError, DatasetNotFoundError)) as error:  # there are no blocks
            guards.before_pipeline_run({}, run, catalog)
        return str(error.value) if error.type is UserError else ""

    return told


def test_results_of_conf_base_do_not_pass_for_those_of_an_environment(
    refused: Callable[..., str],
) -> None:
    told = "conf/width is for chairs, faces; of digits it says nothing"
    assert told in refused("width", "digits")
    for environment, dataset in (("width", "chairs"), ("width", "faces"), ("mine", "digits")):
        assert refused(environment, dataset) == ""


def test_a_misspelt_data_set_is_told_as_such_in_an_environment_too(
    refused: Callable[..., str],
) -> None:
    told = "have 'chair', which is no data set; did you mean chairs?"
    assert told in refused("misspelt", "chairs")


def test_a_run_in_another_thread_is_guarded_too() -> None:
    before = signal.getsignal(signal.SIGTERM)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            Guards(str).before_pipeline_run({}, Pipeline([]), catalog)
        except BaseException as error:  # for the other thread to see
            failed.append(error)

    catalog = DataCatalog({"parameters": MemoryDataset({})})
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("parameters", "given", "words"),
    [
        ({"digit": {}}, [], "have 'digit', which is no data set; did you mean digits?"),
        ({"x": {}}, [], "have 'x', which is no data set; there are celeba, chairs, digits, faces"),
        ({"digits": {"dta": {}}}, [], "have digits.dta, which is no block; did you mean data?"),
        ({"digits": {"lr_d": 1}}, [], "have digits.lr_d, which is no block; there are source,"),
        ({"digits": {"data": 5}}, [], "have 5 as digits.data, which must be a block of keys"),
        ({"mnist": {"study": None}}, [], "have None as mnist.study, which must be a block"),
        ({"digits": None}, [], "of digits are None, but must be blocks: source, data, model"),
        (
            {"digits": {}},
            ["mnist"],
            "--params has mnist, but what is to be run is of digits",
        ),
    ],
)
def test_a_name_that_nobody_would_read_is_refused(
    parameters: dict[str, Any], given: list[str], words: str
) -> None:
    bootstrap_project(ROOT)
    with pytest.raises(UserError, match=re.escape(words)):
        _refuse_unknown_names(parameters, {name: {} for name in given}, ["digits"])


def test_names_that_are_read_are_not_refused() -> None:
    bootstrap_project(ROOT)
    blocks: dict[str, Any] = {name: {} for name in (*BLOCKS, "study")}
    read = {**blocks, "study": Recipe()}
    _refuse_unknown_names({"digits": read, "mnist": blocks}, {"digits": {}}, ["digits"])


@pytest.mark.parametrize(
    ("able", "gpu", "precision", "common", "output", "warns"),
    [
        ("avx2", False, "bfloat16", {}, "record", True),
        ("avx2", False, "bfloat16", {}, "baseline_record", True),
        ("avx2", False, "float32", {"precision": "bfloat16"}, "study_runs", True),
        ("avx2", False, "float32", {"precision": "bfloat16"}, "record", False),
        ("avx2", False, "bfloat16", {}, "metrics", False),
        ("avx2", True, "bfloat16", {}, "record", False),
        ("amx_bf16", False, "bfloat16", {}, "record", False),
        (None, False, "bfloat16", {}, "record", False),
    ],
)
def test_arithmetic_that_a_processor_can_only_imitate_is_warned_of(
    able: str | None,
    gpu: bool,
    precision: str,
    common: dict[str, str],
    output: str,
    warns: bool,
    mnist: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = {"avx2": True, "avx512_bf16": False, **({able: True} if able else {})}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known if able else {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    blocks = copy.deepcopy(mnist)
    blocks["training"]["precision"] = precision
    blocks["study"]["common"]["training"] |= common
    catalog = DataCatalog(
        {f"params:mnist.{name}": MemoryDataset(block) for name, block in blocks.items()}
    )
    _warn_of_slow_arithmetic("mnist", catalog, {f"mnist.{output}"})
    assert bool(caplog.messages) == warns
    if warns:
        assert re.match("mnist: training.precision is bfloat16, which this", *caplog.messages)


@pytest.mark.parametrize(
    ("weights", "output", "refused"),
    [
        ("nowhere.pth", "generation", True),
        ("nowhere.pth", "record", True),
        ("nowhere.pth", "figures", False),
        (None, "generation", False),
    ],
)
def test_a_fid_that_cannot_be_is_refused_before_the_training(
    weights: str | None, output: str, refused: bool, mnist: dict[str, Any]
) -> None:
    evaluation = {**mnist["evaluation"], "inception_weights": weights}
    catalog = DataCatalog({"params:mnist.evaluation": MemoryDataset(evaluation)})
    words = r"inception_weights is nowhere\.pth, which cannot be read"
    with pytest.raises(UserError, match=words) if refused else nullcontext():
        _refuse_wrong_inception_weights("mnist", catalog, {f"mnist.{output}"})


@pytest.mark.parametrize(("rank", "refused"), [("0", True), ("1", False)])
def test_a_run_asks_for_the_weights_on_the_machine_that_evaluates(
    rank: str, refused: bool, mnist: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap_project(ROOT)
    monkeypatch.setenv(NODE_RANK, rank)
    monkeypatch.setattr("infogan.guards._help", lambda *_: None)
    mnist = copy.deepcopy(mnist)
    mnist["evaluation"]["inception_weights"] = "nowhere.pth"
    blocks = {f"params:mnist.{name}": MemoryDataset(block) for name, block in mnist.items()}
    catalog = DataCatalog({"parameters": MemoryDataset({"mnist": mnist}), **blocks})
    run = Pipeline([node(lambda: 0, None, "record", name="fit")], namespace="mnist")
    with pytest.raises(UserError, match="which cannot be read") if refused else nullcontext():
        Guards(str).before_pipeline_run({}, run, catalog)


def test_every_place_of_the_catalog_is_that_of_the_project_wherever_one_is_in_it() -> None:
    """Kedro makes these two keys absolute, and no others."""
    text = (ROOT / "conf" / "base" / "catalog.yml").read_text()
    for name, entry in yaml.safe_load(text).items():
        assert {"path", "filepath"} & set(entry), name
        assert not [
            key for key, value in entry.items() if "${" in str(value) and "path" not in key
        ]
