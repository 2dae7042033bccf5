"""Ctrl-C, kill and two at once: nothing is lost, nothing is half-written."""

import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from kedro_project import LONG, Project

RESULTS = [
    "06_models/digits/infogan.safetensors",
    "06_models/digits/baseline.safetensors",
    "08_reporting/digits/history.csv",
]


def saved(project: Project) -> bool:
    """Whether there is a checkpoint of the game."""
    return project.reached() > 0


def interrupt(project: Project, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Start the training and send a signal once it has saved its first checkpoint."""
    process = project.start("--pipelines=digits.training", LONG)
    project.wait_for(process, lambda: saved(project))
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    make_ingested: Callable[..., Project],
    uninterrupted: Path,
    number: signal.Signals,
) -> None:
    project = make_ingested(tracked=True)

    stopped = interrupt(project, number)
    assert stopped.returncode != 0
    assert "Traceback" not in stopped.stderr
    assert re.search(r"infogan stops at iteration \d+, which is saved", stopped.stderr)
    assert not project.data("06_models").exists()
    (run,) = project.runs()
    assert run.info.status == "KILLED"

    resumed = project.run("--pipelines=digits.training", LONG)
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"infogan: from iteration [1-9]\d* to 300", resumed.stderr)
    for name in RESULTS:
        assert project.data(name).read_bytes() == uninterrupted.joinpath(name).read_bytes(), name
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    steps = [p.step for p in project.store().get_metric_history(run.info.run_id, "curves/loss_d")]
    assert steps == sorted(set(steps)), "a step was logged twice"


def test_a_killed_training_goes_on_from_its_last_checkpoint(
    ingested: Project, uninterrupted: Path
) -> None:
    killed = interrupt(ingested, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert ingested.run("--pipelines=digits.training", LONG).returncode == 0
    for name in RESULTS:
        assert ingested.data(name).read_bytes() == uninterrupted.joinpath(name).read_bytes(), name


@pytest.fixture(scope="module")
def stopped(make_ingested: Callable[..., Project]) -> Project:
    """A training that was interrupted, to copy from and not to change."""
    project = make_ingested(tracked=True)
    interrupt(project, signal.SIGINT)
    assert saved(project)
    return project


@pytest.fixture
def project(stopped: Project, tmp_path: Path) -> Project:
    shutil.copytree(stopped.folder, tmp_path / "project")
    return Project(tmp_path / "project", dict(stopped.variables))


def test_a_checkpoint_of_another_training_is_left_alone_and_waits(project: Project) -> None:
    changed = "--params=digits.training.lr_g=2.0e-3,digits.training.iterations=20"
    other = project.run("--pipelines=digits.training", changed)
    assert other.returncode == 0, other.stderr
    assert re.search(r"infogan\.0\.\d+\.pt is of another training .* is left alone", other.stderr)
    assert "infogan: from iteration 0 to 20" in other.stderr
    # Of the same identity, but shorter, and with another seed.
    for changes in ("iterations=9", "seeds=[1]"):
        done = project.run("--pipelines=digits.training", f"--params=digits.training.{changes}")
        assert done.returncode == 0, done.stderr
        assert "infogan: from iteration 0 to " in done.stderr
    # It waits for whoever goes back to its parameters.
    back = project.run("--pipelines=digits.training", LONG)
    assert re.search(r"infogan: from iteration [1-9]\d* to 300", back.stderr)
    assert not project.data("06_checkpoints/digits").exists()

    # Each has a run of its own in MLflow, and all of its points are there.
    found = {}
    for run in project.runs():
        points = project.store().get_metric_history(run.info.run_id, "curves/loss_d")
        params = {name: run.data.params[f"training.{name}"] for name in ("lr_g", "seeds")}
        found[(*params.values(), len(points))] = run.info.status
    runs = [("0.001", "0", 60), ("0.002", "0", 4), ("0.001", "0", 2), ("0.001", "1", 6)]
    assert found == dict.fromkeys(runs, "FINISHED")


def test_a_training_can_be_told_to_begin_anew(project: Project, uninterrupted: Path) -> None:
    done = project.run("--pipelines=digits.training", f"{LONG},digits.training.resume=never")
    assert done.returncode == 0, done.stderr
    assert "infogan: from iteration 0 to 300" in done.stderr
    history = "08_reporting/digits/history.csv"
    assert project.data(history).read_bytes() == uninterrupted.joinpath(history).read_bytes()


def test_of_two_runs_in_one_folder_the_second_is_refused_and_neither_is_harmed(
    ingested: Project, uninterrupted: Path
) -> None:
    first = ingested.start("--pipelines=digits.training", LONG)
    ingested.wait_for(first, lambda: saved(ingested))
    second = ingested.run("--pipelines=digits.training", LONG)
    assert second.returncode == 1
    assert "Error: Another run is at work on digits" in second.stderr
    _, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    for name in RESULTS:
        assert ingested.data(name).read_bytes() == uninterrupted.joinpath(name).read_bytes(), name


def test_an_interruption_while_mlflow_makes_its_tables_spoils_no_later_run(
    make_ingested: Callable[..., Project],
) -> None:
    project = make_ingested(tracked=True)
    (project.folder / "mlflow.db").unlink()
    process = project.start("--pipelines=digits.training")
    project.wait_for(process, (project.folder / ".mlflow.tmp.db").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)

    # On a fast machine the signal may come after the last table; then that run is on record, too.
    done = project.run("--pipelines=digits.training")
    assert done.returncode == 0, done.stderr
    assert [run.info.status for run in project.runs()].count("FINISHED") == 1


def test_a_failing_run_is_on_record_as_failed_with_its_error(trained: Project) -> None:
    trained.variables = {}
    other = "--params=digits.model.leaky_slope=0.2"
    assert trained.run("--pipelines=digits.evaluation", other).returncode == 1
    (run,) = trained.runs()
    assert run.info.status == "FAILED"
    assert "was trained with model.leaky_slope = 0.1" in run.data.tags["error"]


EVALUATING = (
    "--params=digits.training.iterations=300,digits.training.checkpoint_every=149,"
    "digits.training.evaluate_every=150,digits.training.evaluation_samples=20000,"
    "digits.training.log_every=1"
)


def points(project: Project) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of all curves of the only run, as they were sent."""
    store, (run,) = project.store(), project.runs()
    keys = [key for key in run.data.metrics if key.startswith(("codes/", "curves/"))]
    histories = {key: store.get_metric_history(run.info.run_id, key) for key in keys}
    return {key: [(p.step, p.value) for p in found] for key, found in histories.items()}


def pictures(project: Project) -> list[tuple[str, bytes]]:
    """Names without time and number, and contents, of all pictures by step of the only run."""
    paths = (project.folder / "mlartifacts").glob("*/artifacts/images/*")
    return sorted(
        (re.sub(r"\+timestamp\+\d+\+[\da-f-]{36}", "", path.name), path.read_bytes())
        for path in paths
    )


def last_point(project: Project) -> int:
    """The last step in the store, looked up without MLflow, since it is asked for often."""
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as store:
        return store.execute(
            "SELECT max(step) FROM metrics WHERE key = 'curves/loss_d'"
        ).fetchone()[0]


def status(project: Project) -> str:
    (run,) = project.runs()
    return str(run.info.status)


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send the signal to a training that evaluates; what it said last."""
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Traceback" not in err
    return err


def test_signals_break_off_an_evaluation_and_no_point_is_lost_or_sent_twice(
    make_ingested: Callable[..., Project],
) -> None:
    """SIGTERM in the first evaluation, SIGINT just before the second, SIGKILL with points ahead of
    the last checkpoint.
    """
    whole = make_ingested(tracked=True)
    assert whole.run("--pipelines=digits.training", EVALUATING).returncode == 0
    project = make_ingested(tracked=True)

    process = project.start("--pipelines=digits.training", EVALUATING)
    assert process.stderr is not None
    said = ""
    while "8/8" not in said:  # all is clustered, just before the first of 20,000 codes
        said += process.stderr.read(1)
        assert process.poll() is None
    err = end(process, signal.SIGTERM)
    assert "infogan stops at iteration 0, which is saved" in err
    assert status(project) == "KILLED"

    process = project.start("--pipelines=digits.training", EVALUATING)
    project.wait_for(process, lambda: project.reached() == 149)
    err = end(process, signal.SIGINT)
    reached = project.reached()
    assert reached in {149, 150}  # as the signal came before or after the update
    assert f"infogan stops at iteration {reached}, which is saved" in err
    assert status(project) == "KILLED"

    process = project.start("--pipelines=digits.training", EVALUATING)
    project.wait_for(process, lambda: last_point(project) >= 200)
    process.kill()
    process.communicate(timeout=300)
    assert project.reached() == reached

    done = project.run("--pipelines=digits.training", EVALUATING)
    assert done.returncode == 0, done.stderr
    assert f"infogan: from iteration {reached} to 300" in done.stderr
    for name in RESULTS:
        assert project.data(name).read_bytes() == whole.data(name).read_bytes(), name
    assert points(project) == points(whole)
    assert pictures(project) == pictures(whole)
    steps = (f"As it learns~InfoGAN+step+{step}.png" for step in (0, 150, 300))
    assert {name for name, _ in pictures(whole)} >= set(steps)
    assert status(project) == "FINISHED"
