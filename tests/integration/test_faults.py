"""What goes wrong around a training: it is said, and nothing is lost. See docs/reliability.md."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro_project import LONG, Project

PROFILE = ["trace.json", "operators.txt"]
RESULTS = ["06_models/digits/infogan.safetensors", "08_reporting/digits/history.csv"]


@pytest.fixture
def stopped(ingested: Project) -> Project:
    """One whose training was stopped after its first checkpoint."""
    process = ingested.start("--pipelines=digits.training", LONG)
    ingested.wait_for(process, lambda: ingested.reached() > 0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    return ingested


def checkpoints(project: Project) -> list[Path]:
    return sorted(project.data("06_checkpoints/digits").glob("*/infogan.0.*.pt"))


def fail(project: Project, words: str) -> None:
    """Go on, and end with an error that names a checkpoint; the older ones stay."""
    before = {path: path.read_bytes() for path in checkpoints(project)}
    done = project.run("--pipelines=digits.training", LONG)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"Error: {words}: " in done.stderr
    assert "06_checkpoints/digits/" in done.stderr.split(words)[-1]
    assert {path: path.read_bytes() for path in checkpoints(project)} == before
    assert not list(project.data("06_checkpoints").rglob("*.tmp.pt"))


def go_on(project: Project, uninterrupted: Path) -> None:
    done = project.run("--pipelines=digits.training", LONG)
    assert done.returncode == 0, done.stderr
    assert "infogan: from iteration 0 " not in done.stderr
    for name in RESULTS:
        assert project.data(name).read_bytes() == uninterrupted.joinpath(name).read_bytes(), name


def test_a_full_disk_costs_what_came_after_the_last_checkpoint(
    stopped: Project, uninterrupted: Path
) -> None:
    stopped.largest_file = checkpoints(stopped)[0].stat().st_size // 2
    fail(stopped, "File too large")
    stopped.largest_file = None
    go_on(stopped, uninterrupted)


def test_a_folder_that_became_read_only_costs_what_came_after_the_last_checkpoint(
    stopped: Project, uninterrupted: Path
) -> None:
    stopped.obeys_permissions = True
    folder = checkpoints(stopped)[0].parent
    folder.chmod(0o500)
    fail(stopped, "Permission denied")
    folder.chmod(0o700)
    go_on(stopped, uninterrupted)


def test_an_alarm_is_told_everywhere_and_a_profile_is_kept(
    make_ingested: Callable[..., Project],
) -> None:
    """Without the information term Q is not trained, and reads nothing."""
    project = make_ingested(tracked=True)
    changes = {
        "iterations": 520,
        "baseline_iterations": 30,  # as many as a profile looks into
        "lambda_categorical": 0.0,
        "profile": "true",
    }
    params = ",".join(f"digits.training.{name}={value}" for name, value in changes.items())
    done = project.run(f"--params={params}")
    assert done.returncode == 0, done.stderr

    record = json.loads(project.data("06_models/digits/infogan_record.json").read_text())
    words = record["alarms"]["no_information"]
    assert "less than 5% of H(c1) = 2.303. G ignores the code." in words
    assert f"infogan: {words}" in done.stderr
    assert f"  Alarm: {words}" in done.stdout
    assert words in project.data("08_reporting/digits/report.html").read_text()
    (run,) = project.runs()
    assert run.data.tags["alarm.no_information"] == words

    folder = project.data("06_checkpoints/digits")
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {f"profile/{game}.0/{name}" for game in ("infogan", "baseline") for name in PROFILE}
    assert kept == expected
    for game in ("infogan", "baseline"):
        found = project.store().list_artifacts(run.info.run_id, f"profile/{game}.0")
        assert {each.path for each in found} == {f"profile/{game}.0/{name}" for name in PROFILE}
