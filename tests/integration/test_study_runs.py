"""A study in MLflow: one run, however often it is gone on with, and below it its trainings."""

from collections.abc import Callable

from kedro_project import Project

from infogan.tracking import NOTE

GENERATED = "digits.study.generated_images=0"


def study(project: Project, seeds: str) -> list[tuple[str, str]]:
    """Name and number of every run there is, the study's own first, after another command."""
    done = project.run(
        "--pipelines=digits.study", f"--params=digits.study.seeds={seeds},{GENERATED}"
    )
    assert done.returncode == 0, done.stderr
    assert "digits: what the study found\n  paper, " in done.stdout
    assert f"Page:    {project.data('08_reporting', 'digits', 'study', 'study.md')}" in done.stdout
    found = project.runs()
    assert all(run.info.status == "FINISHED" for run in found)
    (whole,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    parts = [run for run in found if run is not whole]
    assert {run.data.tags["mlflow.parentRunId"] for run in parts} == {whole.info.run_id}
    for run in parts:
        assert {"error", "L_I_ratio"} <= set(run.data.metrics)
        assert run.data.metrics["error"] == round(run.data.metrics["eval/error_one_to_one"], 4)
        assert f"error {run.data.metrics['eval/error_one_to_one']:.1%}" in run.data.tags[NOTE]
        modern = run.data.tags["part"].startswith("modern")
        assert ("training.clustering" in run.data.tags.get("extended", "")) == modern
    several = len(parts) // 2
    assert f"* modern, {several} run{'s' * (several > 1)}: error " in whole.data.tags[NOTE]
    assert "study.md` among the artifacts" in whole.data.tags[NOTE]
    assert not any("No result yet" in run.data.tags[NOTE] for run in found)
    return [(run.info.run_name, run.info.run_id) for run in (whole, *parts)]


def test_a_further_seed_is_added_to_the_run_of_the_study(
    make_ingested: Callable[..., Project],
) -> None:
    project = make_ingested(tracked=True)
    first = study(project, "[0]")
    more = study(project, "[0,1]")
    assert more[: len(first)] == first
    assert [name.partition(" of ")[0] for name, _ in more] == [
        "digits smoke study",
        "paper, seed 0",
        "modern, seed 0",
        "paper, seed 1",
        "modern, seed 1",
    ]
