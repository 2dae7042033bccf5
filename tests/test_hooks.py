"""What becomes of the tracked runs of several datasets in one command."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node

from infogan import tracking
from infogan.continuation import SIDECAR, note_study
from infogan.datasets.values import Rows
from infogan.errors import UserError
from infogan.hooks import Tracking
from infogan.registry import Candidate
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

    def log_model(self, candidate: Candidate) -> None:
        self.model = candidate

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


@pytest.mark.parametrize("off", ["0", "false", "No", "OFF"])
def test_tracking_can_be_turned_off_for_a_command(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    monkeypatch.setenv("INFOGAN_TRACKING", off)
    Command("a").begin("a")
    assert not runs
    monkeypatch.setenv("INFOGAN_TRACKING", "1")
    Command("a").begin("a")
    assert set(runs) == {"a"}


def test_a_page_of_a_study_that_is_written_again_goes_to_the_run_of_the_study(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resumed: list[object] = []

    def open_run(*given: object) -> tracking.Tracker:
        resumed.append(given[-1])
        return tracking.Tracker()

    monkeypatch.delenv("INFOGAN_TRACKING", raising=False)
    monkeypatch.setattr(tracking, "open_run", open_run)
    command = Command("a")
    command.catalog["a.record"] = MemoryDataset({"mlflow_run_id": "that of the training"})
    command.catalog["a.study"] = MemoryDataset(tmp_path)
    note_study(tmp_path / SIDECAR, "that of the study")
    written = Pipeline([node(lambda: 0, None, "page", name="write")], namespace="a", tags="study")
    command.hooks.after_context_created(context(stages=["study"]))
    command.hooks.before_node_run(written.nodes[0], command.catalog, {})
    assert resumed == ["that of the study"]


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


@pytest.mark.parametrize(
    ("card", "end"), [(CARD, "error 12.3%; partial: 3 of 9 images"), ({}, "error 12.3%")]
)
def test_beside_a_version_stands_its_result_and_of_how_much_data_it_is(
    runs: Runs, card: dict[str, Any], end: str
) -> None:
    command = Command("a")
    command.begin("a")
    command.catalog["a.card"] = MemoryDataset(
        {
            "source": {},
            "transforms": [],
            **card,
            "splits": {"train": {"sha256": "b"}, "test": {"sha256": "c"}},
        }
    )
    for name in ("model", "metrics"):
        command.catalog[f"a.{name}"] = OnDisk()
    left = {
        "record": {"mlflow_run_id": "a", "alarms": {}},
        "baseline_record": {"alarms": {}},
        "categories": {},
        "known_factors": {},
    }
    for name, value in (left | {"seed_metrics": Rows(("seed",), [])}).items():
        command.catalog[f"a.{name}"] = MemoryDataset(value)
    runs["a"].words["mlflow.runName"] = "a smoke seed 0"
    metrics = {"error_one_to_one": 0.123, "error_majority": 0.1}
    command.hooks.after_dataset_saved("a.metrics", metrics)
    assert runs["a"].model.words == f"a smoke seed 0: {end}"
    assert runs["a"].model.competes == (not card)


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


def configured(folder: Path, environment: str, **parameters: Any) -> None:
    """Parameters of an environment, a file a dataset."""
    place = folder / "conf" / environment
    place.mkdir(parents=True)
    for name, blocks in parameters.items():
        (place / f"parameters_{name}.yml").write_text(yaml.safe_dump({name: blocks}))


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
