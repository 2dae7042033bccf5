"""What becomes of the tracked runs of several datasets in one command, and their common page."""

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import ThreadRunner

from infogan import tracking
from infogan.datasets.values import Weights
from infogan.errors import UserError
from infogan.hooks import (
    Guards,
    Tracking,
    _interrupted_run,
    _refuse_unknown_names,
    _write_index,
)
from infogan.options import BLOCKS as BLOCK_TYPES
from infogan.options import Reporting, Training
from infogan.report import page as report_page
from infogan.settings import CONFIG_LOADER_ARGS
from infogan.tracking import NOTE

ROOT = Path(__file__).parents[1]


class Remembering(tracking.Tracker):
    """What a run was told."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.words: dict[str, str] = {}
        self.data: list[str] = []
        self.status = "RUNNING"

    def set_tags(self, tags: Any) -> None:
        self.words |= tags

    def tags(self) -> dict[str, str]:
        return self.words

    def log_data(self, name: str, card: Any) -> None:
        self.data += [f"{name} {split}" for split in card["splits"]]

    def end(self, status: str) -> None:
        assert self.status == "RUNNING", "ended twice"
        self.status = status


CARD = {
    "source": {"model": "Some Face Model"},
    "splits": {"train": {"sha256": "abc"}},
    "partial": {"images": 3, "of": 9},
}


BLOCKS = yaml.safe_load((ROOT / "conf" / "base" / "parameters_digits.yml").read_text())["digits"]


class OnDisk(MemoryDataset):
    """A dataset with a path."""

    path = Path.cwd() / "data" / "report.html"


TRACKING = {
    "enabled": True,
    "stages": ["reporting"],
    "experiment": "{dataset}",
    "model": "{dataset}",
    "best": True,
}


class Configuration(dict[str, Any]):
    """Of Kedro's, no more than is looked at."""

    conf_source = "conf"


def context(project: Path | None = None, **tracking_yml: Any) -> Any:
    configuration = Configuration(tracking=TRACKING | tracking_yml)
    project = project or Path.cwd()
    return SimpleNamespace(config_loader=configuration, project_path=project, env="smoke")


class Command:
    """One node a dataset, of the stage reporting, and the hooks around them."""

    def __init__(self, datasets: Sequence[str], **run_params: Any) -> None:
        nodes = [node(lambda: 0, None, "x", name="draw", tags=["reporting"])]
        parts = [Pipeline(nodes, namespace=dataset) for dataset in datasets]
        self.pipeline = sum(parts, Pipeline([]))
        self.catalog = DataCatalog({f"{name}.card": MemoryDataset(CARD) for name in datasets})
        for name in datasets:
            self.catalog[f"{name}.report"] = OnDisk()
            for block, values in BLOCKS.items():
                self.catalog[f"params:{name}.{block}"] = MemoryDataset(values)
        self.hooks = Tracking()
        self.hooks.after_context_created(context())
        self.hooks.before_pipeline_run(run_params, self.pipeline, self.catalog)

    def begin(self, dataset: str) -> None:
        (one,) = (each for each in self.pipeline.nodes if each.namespace == dataset)
        self.hooks.before_node_run(one, self.catalog, {})

    def finish(self, dataset: str) -> None:
        self.begin(dataset)
        (one,) = (each for each in self.pipeline.nodes if each.namespace == dataset)
        self.hooks.after_node_run(one)


Runs = dict[str, Remembering]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    opened: Runs = {}

    def open_run(_uri: str, _artifacts: str, experiment: str, *_: object) -> Remembering:
        assert experiment not in opened
        opened[experiment] = Remembering(experiment)
        return opened[experiment]

    monkeypatch.delenv("INFOGAN_TRACKING", raising=False)
    monkeypatch.setattr(tracking, "open_run", open_run)
    yield opened
    tracking.activate(tracking.Tracker())


def test_the_tracker_in_use_is_that_of_the_dataset_at_work(runs: Runs) -> None:
    command = Command("ab")
    for dataset in "aba":
        command.begin(dataset)
        assert tracking.current().run_id == dataset
    command.hooks.after_dataset_saved("a.record", {"versions": {}, "device": "cpu"})
    assert "device" in runs["a"].words
    assert "device" not in runs["b"].words


def test_all_runs_of_a_command_that_succeeds_are_finished(runs: Runs) -> None:
    command = Command("ab")
    command.finish("a")
    command.finish("b")
    command.hooks.after_pipeline_run()
    assert [run.status for run in runs.values()] == ["FINISHED", "FINISHED"]
    assert type(tracking.current()) is tracking.Tracker


def test_an_error_is_that_of_the_dataset_at_work_alone(runs: Runs) -> None:
    command = Command("abc")
    command.finish("a")
    command.begin("b")
    command.begin("c")
    command.hooks.on_pipeline_error(ValueError("no space left"))
    assert {name: run.status for name, run in runs.items()} == {
        "a": "FINISHED",
        "b": "KILLED",
        "c": "FAILED",
    }
    assert [name for name, run in runs.items() if "error" in run.words] == ["c"]


def test_whichever_node_opens_a_run_its_tags_say_what_it_was_made_from(runs: Runs) -> None:
    Command("a").begin("a")
    tags = runs["a"].words
    assert tags["dataset"] == "a"
    assert tags["report"] == "data/report.html"
    assert runs["a"].data == ["a (Some Face Model) train"]
    assert tags["data"] == "a (Some Face Model)"
    assert tags["partial"] == "3 of 9"
    assert tags["data_sha256"] == "abc"


def test_a_run_tells_how_it_is_made_before_it_has_a_result(runs: Runs) -> None:
    params = {"a": {"training": {"lr_g": 5e-4, "iterations": 7, "seeds": [1]}}, "b": {"x": 1}}
    command = Command("a", pipeline_names=["a"], env="smoke", runtime_params=params)
    command.begin("a")
    tags = runs["a"].words
    assert tags["changes"] == "training.lr_g=0.0005"  # the rest is in its name, or not its own
    typed = "kedro run --pipelines=a --env=smoke '--params=a.training.lr_g=0.0005,"
    assert tags["mlflow.source.name"].startswith(typed)
    assert tags[NOTE].startswith("No result yet.")
    assert tags["mlflow.source.name"] in tags[NOTE]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"experimentt": "x"}, "tracking.yml: experimentt: "),
        ({"enabled": "perhaps"}, "tracking.yml: enabled: "),
        ({"experiment": "my {nope}"}, "may name {dataset} and nothing else"),
        ({"experiment": "{dataset.x}"}, "may name {dataset} and nothing else"),
        ({"stages": ["trainingg"]}, "tracking.yml: stages.0: "),
    ],
)
def test_a_mistake_in_what_is_tracked_is_a_sentence(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        Tracking().after_context_created(context(**wrong))


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [((9, 300), "300"), ((30, 300), "300"), ((100, 300), "100"), ((9, 40), None)],
)
def test_a_training_goes_on_in_the_shortest_run_that_reached_its_checkpoint(
    tmp_path: Path,
    make_training: Callable[..., Training],
    lengths: tuple[int, ...],
    expected: str | None,
) -> None:
    sidecar = tmp_path / "mlflow_run.json"
    noted = [{"seeds": [0], "iterations": length, "run_id": str(length)} for length in lengths]
    sidecar.write_text(json.dumps({"runs": noted}))
    for seed, iteration in product((0, 1), (20, 50, 400)):  # the last of a longer training
        (tmp_path / f"infogan.{seed}.{iteration:09}.pt").touch()
    assert _interrupted_run(sidecar, make_training(iterations=300)) == expected
    assert _interrupted_run(sidecar, make_training(iterations=300, seeds=[1])) is None


def test_the_last_line_says_where_the_run_is_and_whether_it_is_whole(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command("ab")
    command.finish("a")
    where = command.hooks.where
    assert where("a") == "run a, `make ui`, then http://127.0.0.1:5000/#/runs/a"
    assert where("b") == "not tracked"
    monkeypatch.setattr(Remembering, "lost", True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:secret@127.0.0.1:6031")
    command.hooks.after_pipeline_run()
    assert where("a") == (
        "run a, at http://…@127.0.0.1:6031, INCOMPLETE: the store failed on the way (see above)"
    )


def test_an_experiment_of_dvc_in_a_copy_is_tracked_beside_the_others(tmp_path: Path) -> None:
    copy = tmp_path / "project" / ".dvc" / "tmp" / "exps" / "temp1234"
    hooks = Tracking()
    hooks.after_context_created(context(copy))
    assert hooks._home == tmp_path / "project"
    hooks.after_context_created(context(tmp_path / "project"))
    assert hooks._home == tmp_path / "project"


def test_what_git_does_not_know_is_told_as_if_it_had_been_typed(
    runs: Runs, tmp_path: Path
) -> None:
    configured(
        tmp_path, "base", digits={"training": {"lr_g": 1e-3, "iterations": 9, "seeds": [0]}}
    )
    configured(
        tmp_path,
        "local",
        digits={"training": {"iterations": 33, "seeds": [0, 1]}},
        mnist={"training": {"iterations": 44}},  # not of what is run
    )
    command = Command(["digits"])
    for env, given, expected in (
        (None, {}, "--params=digits.training.iterations=33,digits.training.seeds=[0,1]"),
        (None, {"digits": {"training": {"iterations": 5}}}, "digits.training.iterations=5,"),
        ("base", {}, "kedro run"),
    ):
        loader = OmegaConfigLoader(
            str(tmp_path / "conf"), env=env, runtime_params=given, **CONFIG_LOADER_ARGS
        )
        command.hooks._config, command.hooks._project = loader, tmp_path
        command.hooks._environment = env or "base"
        params = {"env": env, "runtime_params": given}
        command.hooks.before_pipeline_run(params, command.pipeline, command.catalog)
        runs.clear()
        command.begin("digits")
        typed = runs["digits"].words["mlflow.source.name"]
        assert expected in typed
        assert ("33" in typed) == (env is None and not given)
        assert "mnist" not in typed


def test_another_configuration_is_named_and_is_not_that_of_the_commit(
    runs: Runs, tmp_path: Path
) -> None:
    command = Command("a")
    command.hooks._config.conf_source = str(tmp_path)  # type: ignore[union-attr, misc]
    command.hooks.before_pipeline_run({}, command.pipeline, command.catalog)
    command.begin("a")
    assert runs["a"].words["mlflow.source.name"] == f"kedro run --conf-source={tmp_path}"
    assert runs["a"].words["git_dirty"] == "true"


# --- What is refused before anything is computed -------------------------------------------------


def configured(folder: Path, environment: str, **files: Any) -> None:
    """Parameters, and globals of their name, of an environment."""
    place = folder / "conf" / environment
    place.mkdir(parents=True)
    for name, content in files.items():
        file = "globals.yml" if name == "globals" else f"parameters_{name}.yml"
        written = content if name == "globals" else {name: content}
        (place / file).write_text(yaml.safe_dump(written))


@pytest.mark.parametrize("runner", ["ThreadRunner", "ParallelRunner", ThreadRunner()])
def test_nodes_run_one_at_a_time(runner: object) -> None:
    named = {"runner": getattr(runner, "__name__", str(runner))}  # as Kedro tells of it
    with pytest.raises(UserError, match=r"(Thread|Parallel)Runner cannot be used"):
        Guards(Tracking()).before_pipeline_run(named, Pipeline([]), DataCatalog())


def test_old_outputs_do_not_pass_for_those_of_new_parameters() -> None:
    with pytest.raises(UserError, match="only-missing-outputs cannot be used"):
        Guards(Tracking()).before_pipeline_run(
            {"only_missing_outputs": True}, Pipeline([]), DataCatalog()
        )


@pytest.mark.parametrize("own", [{}, {"globals": {"data_root": "data/mine"}}])
def test_an_environment_has_a_data_folder_of_its_own(tmp_path: Path, own: dict[str, Any]) -> None:
    configured(tmp_path, "base", globals={"data_root": "data"})
    configured(tmp_path, "mine", digits={}, **own)
    loader = OmegaConfigLoader(str(tmp_path / "conf"), env="mine", **CONFIG_LOADER_ARGS)
    guards = Guards(Tracking())
    guards.after_context_created(SimpleNamespace(env="mine", config_loader=loader))  # type: ignore[arg-type]
    catalog = DataCatalog({"parameters": MemoryDataset({})})
    if own:
        guards.before_pipeline_run({}, Pipeline([]), catalog)
        return
    with pytest.raises(UserError, match=r"conf/mine has no data folder.*data_root: data/mine"):
        guards.before_pipeline_run({}, Pipeline([]), catalog)


def test_a_run_in_another_thread_is_guarded_too(catalog: DataCatalog) -> None:
    before = signal.getsignal(signal.SIGTERM)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            Guards(Tracking()).before_pipeline_run({}, Pipeline([]), catalog)
        except BaseException as error:  # for the other thread to see
            failed.append(error)

    catalog["parameters"] = MemoryDataset({})
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []
    assert signal.getsignal(signal.SIGTERM) is before


# --- The page of all data sets -------------------------------------------------------------------

METRICS = {"lower_bound.c1": 2.2, "entropy.c1": 2.3, "information_real.c1": 2.0, "nmi": 0.75}
BASE = dict.fromkeys(("b", "a", "c"), BLOCKS)


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """The project's own patterns, of files in a folder of this test; nothing is reported yet."""
    text = (ROOT / "conf" / "base" / "catalog.yml").read_text()
    patterns = {
        name: entry
        for name, entry in yaml.safe_load(
            text.replace("${globals:data_root}", str(tmp_path))
        ).items()
        if "{dataset}" in name
    }
    catalog = DataCatalog.from_config(patterns)
    for dataset in BASE:
        for block in ("data", "reporting", "evaluation"):
            catalog[f"params:{dataset}.{block}"] = MemoryDataset(BLOCKS[block])
    return catalog


def report(catalog: DataCatalog, dataset: str, **record: Any) -> None:
    """What the last nodes of a run leave."""
    splits = {name: {"images": 9, "from": BLOCKS["data"][name]} for name in ("train", "test")}
    card = {"splits": splits, "source": {}}
    told = {
        "started": f"2026 {dataset}",
        "iterations": BLOCKS["training"]["iterations"],
        "commit": "abc",
        "mlflow_run_id": f"run {dataset}",
        "alarms": {},
        **record,
    }
    model = {
        name: BLOCK_TYPES[name].model_validate(BLOCKS[name]).model_dump(mode="json")
        for name in ("model", "training")
    }
    facts = {"trained from": told["started"]}
    block = Reporting.model_validate(BLOCKS["reporting"])
    page = report_page(block, block.title, METRICS, {}, {}, facts, {})
    for name, value in (("metrics", METRICS), ("record", told), ("card", card), ("report", page)):
        catalog.save(f"{dataset}.{name}", value)
    catalog.save(f"{dataset}.model", Weights({"w": np.zeros(1)}, model))


def runs_on(page: Path) -> list[str]:
    return re.findall(r"run ([abc])<", page.read_text())


def test_the_index_has_all_reports_that_are_there_in_the_order_of_names(
    catalog: DataCatalog, tmp_path: Path
) -> None:
    report(catalog, "b")
    page = _write_index("b", catalog, BASE, "base")
    assert page == tmp_path / "08_reporting" / "index.html"
    assert runs_on(page) == ["b"]
    assert page.read_text().count("no report yet") == 2
    report(catalog, "a")
    _write_index("a", catalog, BASE, "base")
    assert runs_on(page) == ["a", "b"]
    assert 'class="mark"' not in page.read_text()
    assert not [each for each in page.parent.iterdir() if ".tmp" in each.name]
    assert not (tmp_path / "06_checkpoints").exists()


def test_a_report_older_than_the_training_has_no_numbers_in_the_index(
    catalog: DataCatalog,
) -> None:
    report(catalog, "a")
    report(catalog, "b")
    record = catalog.load("b.record")
    catalog.save("b.record", record | {"started": "later"})
    page = _write_index("a", catalog, BASE, "base")
    assert runs_on(page) == ["a"]
    assert "kedro run --pipelines=b.evaluation,b.reporting" in page.read_text()


@pytest.mark.parametrize(
    ("name", "content"),
    [("metrics", None), ("metrics", "{"), ("record", "{}"), ("card", '{"splits": {}}')],
)
def test_damage_to_a_data_set_is_told_in_the_index_and_harms_no_other(
    catalog: DataCatalog, name: str, content: str | None
) -> None:
    report(catalog, "a")
    report(catalog, "b")
    damaged = catalog.get(f"b.{name}").path
    if content is None:
        damaged.unlink()
    else:
        damaged.write_text(content)
    page = _write_index("a", catalog, BASE, "base")
    assert runs_on(page) == ["a"]
    assert "cannot be shown: " in page.read_text()


def test_parameters_of_another_data_set_that_are_wrong_harm_no_run(catalog: DataCatalog) -> None:
    report(catalog, "a")
    catalog["params:b.reporting"] = MemoryDataset({"titel": "B"})
    page = _write_index("a", catalog, BASE, "base")
    assert runs_on(page) == ["a"]
    assert "cannot be shown: reporting." in page.read_text()


def test_slices_in_percent_are_those_of_conf_base_though_the_card_has_counted(
    catalog: DataCatalog,
) -> None:
    percent = BLOCKS["data"] | {"train": "all[0:90%]", "test": "all[90%:100%]"}
    catalog["params:a.data"] = MemoryDataset(percent)
    report(catalog, "a")
    counted = {"train": "all[0:900]", "test": "all[900:1000]"}
    splits = {name: {"images": 9, "from": text} for name, text in counted.items()}
    catalog.save("a.card", {"splits": splits, "source": {}})
    base = BASE | {"a": BASE["a"] | {"data": percent}}
    assert "data.train" not in _write_index("a", catalog, base, "base").read_text()
    assert "data.train" in _write_index("a", catalog, BASE, "base").read_text()


def test_the_index_compares_with_the_parameters_that_conf_base_has(catalog: DataCatalog) -> None:
    report(catalog, "a", iterations=7)
    evaluation = BLOCKS["evaluation"] | {"samples": 123}
    catalog["params:a.evaluation"] = MemoryDataset(evaluation)
    text = _write_index("a", catalog, BASE, "base").read_text()
    assert f"7 of the {BLOCKS['training']['iterations']:,} iterations" in text
    assert f"evaluation.samples 123 (there {BLOCKS['evaluation']['samples']:,})" in text


@pytest.mark.parametrize(
    ("parameters", "given", "words"),
    [
        ({"digit": {}}, [], "have 'digit', which is no data set; did you mean digits?"),
        ({"x": {}}, [], "have 'x', which is no data set; there are celeba, chairs, digits, faces"),
        ({"digits": {"dta": {}}}, [], "have digits.dta, which is no block; did you mean data?"),
        ({"digits": {"lr_d": 1}}, [], "have digits.lr_d, which is no block; there are source,"),
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
    blocks: dict[str, Any] = {name: {} for name in (*BLOCK_TYPES, "study")}
    _refuse_unknown_names({"digits": blocks, "mnist": blocks}, {"digits": {}}, ["digits"])


def test_every_place_of_the_catalog_is_that_of_the_project_wherever_one_is_in_it() -> None:
    """Kedro makes these two keys absolute, and no others."""
    text = (ROOT / "conf" / "base" / "catalog.yml").read_text()
    for name, entry in yaml.safe_load(text).items():
        assert {"path", "filepath"} & set(entry), name
        assert not [
            key for key, value in entry.items() if "${" in str(value) and "path" not in key
        ]
