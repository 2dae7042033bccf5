"""Several seeds in one command: each as when trained alone, side by side in MLflow."""

import re
import signal
from collections.abc import Callable

import numpy as np
import pytest
from kedro_project import Project
from mlflow.entities import Run

from infogan.datasets import RowsDataset, WeightsDataset

SEEDS = "--params=digits.training.seeds=[4,2]"


@pytest.fixture(scope="module")
def seeded(make_ingested: Callable[..., Project]) -> Project:
    project = make_ingested(tracked=True)
    done = project.run("--pipelines=digits", f"{SEEDS},digits.evaluation.generated_images=40")
    assert done.returncode == 0, done.stderr
    assert "Generated images in the features of a small classifier" in done.stdout
    assert "Over 2 seeds: " in done.stdout
    return project


def note(run: Run) -> str:
    return str(run.data.tags["mlflow.note.content"])


def test_each_seed_gives_what_it_gives_alone(seeded: Project, ingested: Project) -> None:
    alone = ingested
    done = alone.run(
        "--pipelines=digits.training,digits.evaluation", "--params=digits.training.seeds=[2]"
    )
    assert done.returncode == 0, done.stderr
    expected = WeightsDataset(str(alone.data("06_models/digits/infogan.safetensors"))).load()
    found = WeightsDataset(str(seeded.data("06_models/digits/seeds/2.safetensors"))).load()
    assert found.card["training"] == expected.card["training"]
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)

    history = RowsDataset(str(alone.data("08_reporting/digits/history.csv"))).load()
    table = RowsDataset(str(seeded.data("08_reporting/digits/more_histories.csv"))).load()
    assert table.columns == ("seed", *history.columns)
    assert table.rows == [(2, *row) for row in history.rows]

    numbers = RowsDataset(str(alone.data("08_reporting/digits/seeds.csv"))).load()
    both = RowsDataset(str(seeded.data("08_reporting/digits/seeds.csv"))).load()
    assert both.column("seed").tolist() == [4, 2]
    distance = "generated.classifier_frechet_distance"
    assert len(set(both.column(distance))) == 2
    of_both = {name for name in both.columns if not name.startswith("generated.")}
    for name in of_both - {"seconds_training"}:
        assert both.column(name)[1] == numbers.column(name)[0], name


def test_mlflow_has_a_parent_and_a_child_for_each_seed(seeded: Project) -> None:
    client, (parent, *children) = seeded.store(), seeded.runs()
    assert parent.info.run_name == "digits smoke 2 seeds, 30 it, generated_images=40"
    assert [child.info.run_name for child in children] == [
        f"seed {seed} of digits smoke 2 seeds, 30 it, generated_images=40" for seed in (4, 2)
    ]
    trained = {
        name: value
        for name, value in parent.data.params.items()
        if name.startswith(("model.", "training."))
    }
    for seed, child in zip((4, 2), children, strict=True):
        assert child.data.params == {**trained, "training.seeds": str(seed)}
        assert child.data.tags["dataset"] == "digits"
        assert child.inputs.dataset_inputs == parent.inputs.dataset_inputs
        assert f"| c1&emsp; | {child.data.metrics['eval/lower_bound.c1']:.3f}" in note(child)
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
        points = client.get_metric_history(child.info.run_id, "curves/loss_d")
        steps = [point.step for point in points]
        assert steps == sorted(set(steps))
        assert steps[-1] == 30
        assert "eval/error_one_to_one" in child.data.metrics
    error = [child.data.metrics["eval/error_one_to_one"] for child in children]
    for name, value in {"mean": np.mean(error), "best": min(error), "worst": max(error)}.items():
        assert parent.data.metrics[f"seeds/error_one_to_one.{name}"] == pytest.approx(value)
    assert parent.data.metrics["error"] == pytest.approx(np.mean(error), abs=1e-4)
    for seed, each in zip((4, 2), children, strict=True):
        (line,) = re.findall(rf"^\| {seed}&emsp; \| (\S+)&emsp; \| (\S+) \|$", note(parent), re.M)
        expected = [each.data.metrics[name] for name in ("L_I_ratio", "error")]
        assert [float(cell) for cell in line] == pytest.approx(expected, abs=6e-4)  # of 3 digits
    assert parent.data.params["training.seeds"] == "4, 2"


def test_the_first_seeds_model_and_later_evaluations_belong_to_the_run_of_all_seeds(
    seeded: Project,
) -> None:
    parent = seeded.runs()[0]
    (version,) = seeded.store().search_model_versions("name='infogan-digits'")
    assert version.run_id == parent.info.run_id
    done = seeded.run("--pipelines=digits.evaluation", SEEDS)
    assert done.returncode == 0, done.stderr
    found = seeded.runs()
    assert len(found) == 3
    assert "git_commit_evaluation" in found[0].data.tags


def test_an_interruption_between_seeds_goes_on_in_the_same_runs(
    make_ingested: Callable[..., Project], seeded: Project
) -> None:
    project = make_ingested(tracked=True)
    process = project.start("--pipelines=digits.training", SEEDS)
    checkpoints = project.data("06_checkpoints/digits")
    project.wait_for(process, lambda: any(checkpoints.glob("*/infogan.2.*.pt")))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)

    done = project.run("--pipelines=digits.training", SEEDS)
    assert done.returncode == 0, done.stderr
    assert "infogan: from iteration 30 to 30" in done.stderr  # seed 4 was ready
    client, (_, *children) = project.store(), project.runs()
    assert [child.data.tags["part"] for child in children] == ["seed 4", "seed 2"]
    for child in children:
        points = client.get_metric_history(child.info.run_id, "curves/loss_d")
        steps = [point.step for point in points]
        assert steps == sorted(set(steps))
    for name in ("infogan.safetensors", "seeds/2.safetensors"):
        path = f"06_models/digits/{name}"
        assert project.data(path).read_bytes() == seeded.data(path).read_bytes()
