"""What becomes of the tracked runs of several datasets in one command."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node

from infogan import tracking
from infogan.hooks import Tracking


class Remembering(tracking.Tracker):
    """What a run was told."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.tags: dict[str, str] = {}
        self.status = "RUNNING"

    def set_tags(self, tags: Any) -> None:
        self.tags |= tags

    def end(self, status: str) -> None:
        assert self.status == "RUNNING", "ended twice"
        self.status = status


CARD = {
    "source": {"model": "Some Face Model"},
    "splits": {"train": {"sha256": "abc"}},
    "partial": {"images": 3, "of": 9},
}


class Command:
    """One node a dataset, of the stage reporting, and the hooks around them."""

    def __init__(self, datasets: str) -> None:
        nodes = [node(lambda: 0, None, "x", name="draw", tags=["reporting"])]
        parts = [Pipeline(nodes, namespace=dataset) for dataset in datasets]
        self.pipeline = sum(parts, Pipeline([]))
        self.catalog = DataCatalog({f"{name}.card": MemoryDataset(CARD) for name in datasets})
        self.hooks = Tracking()
        settings = {"enabled": True, "stages": ["reporting"], "experiment": "{dataset}"}
        context = SimpleNamespace(
            config_loader={"tracking": settings}, project_path=Path.cwd(), env="smoke"
        )
        self.hooks.after_context_created(context)  # type: ignore[arg-type]
        self.hooks.before_pipeline_run(self.pipeline, self.catalog)

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
    assert "device" in runs["a"].tags
    assert "device" not in runs["b"].tags


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
    assert [name for name, run in runs.items() if "error" in run.tags] == ["c"]


def test_whichever_node_opens_a_run_its_tags_say_what_it_was_made_from(runs: Runs) -> None:
    Command("a").begin("a")
    tags = runs["a"].tags
    assert tags["dataset"] == "a"
    assert tags["data"] == "a (Some Face Model)"
    assert tags["partial"] == "3 of 9"
    assert tags["data_sha256"] == "abc"
