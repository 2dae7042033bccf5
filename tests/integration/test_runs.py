"""Whole runs of the smoke environment, as a person starts them."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro_project import BIN, Project
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from infogan.datasets import RowsDataset, WeightsDataset
from infogan.networks import rebuild
from infogan.options import Training

ARTIFACTS = [
    "05_model_input/{d}/card.json",
    "05_model_input/{d}/train_images.npy",
    "05_model_input/{d}/test_labels.npy",
    "06_models/{d}/infogan.safetensors",
    "06_models/{d}/baseline.safetensors",
    "08_reporting/{d}/metrics.json",
    "08_reporting/{d}/history.csv",
    "08_reporting/{d}/baseline_history.csv",
    "08_reporting/{d}/report.html",
    "08_reporting/{d}/figures/mutual_information.png",
    "08_reporting/{d}/figures/traversal_c1.png",
    "08_reporting/{d}/figures/traversal_c2.png",
    "08_reporting/{d}/figures/traversal_c3.png",
    "08_reporting/{d}/figures/traversal_baseline_c1.png",
    "08_reporting/{d}/figures/samples.png",
    "08_reporting/{d}/figures/confusion.png",
]
METRICS = {
    *(f"lower_bound.c{i}" for i in (1, 2, 3)),
    *(f"entropy.c{i}" for i in (1, 2, 3)),
    *(f"baseline_lower_bound.c{i}" for i in (1, 2, 3)),
    "error_one_to_one",
    "error_majority",
    "error_one_to_one_recalibrated",
    "error_majority_recalibrated",
    "nmi",
    "ari",
    *(
        f"{number}_{reference}"
        for number in ("error", "nmi", "ari", "classes_without_category")
        for reference in ("kmeans", "untrained", "baseline")
    ),
    "error_baseline_recalibrated",
    "iterations",
    "seed",
    "seconds_training",
}


@pytest.fixture(scope="module")
def tracked(make_project: Callable[..., Project]) -> tuple[Project, str]:
    """The default experiment with everything on, and what it printed last."""
    project = make_project(tracked=True)
    done = project.run()
    assert done.returncode == 0, done.stderr
    return project, done.stdout


def the_run(project: Project) -> Run:
    (run,) = project.runs()
    return run


def test_the_default_run_leaves_every_artifact(tracked: tuple[Project, str]) -> None:
    project, _ = tracked
    for name in ARTIFACTS:
        assert project.data(name.format(d="digits")).stat().st_size > 0
    metrics = json.loads(project.data("08_reporting/digits/metrics.json").read_text())
    assert metrics.keys() >= METRICS
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert metrics["iterations"] == 30


def test_nothing_but_results_is_left_in_the_data_folder(tracked: tuple[Project, str]) -> None:
    project, _ = tracked
    assert not project.data("06_checkpoints/digits").exists()
    assert not project.data("05_model_input/.digits").exists()
    assert not [path for path in project.data().rglob("*") if ".tmp" in path.name]


def test_the_last_lines_say_what_was_found_and_where(tracked: tuple[Project, str]) -> None:
    project, out = tracked
    found = out[out.index("what was found") :]
    assert re.search(r"c1: L_I = -?\d\.\d{3} nats on fresh codes, H\(c1\) = 2\.303", found)
    assert "error" in found
    assert "k-means on pixels" in found
    assert re.search(r"c1, category: class, matched on training labels: 0: \w+, 1: ", found)
    assert str(project.data("08_reporting/digits/report.html")) in found
    assert the_run(project).info.run_id in found


def test_the_index_lists_the_run_as_no_more_than_it_is(tracked: tuple[Project, str]) -> None:
    project, out = tracked
    index = project.data("08_reporting/index.html")
    assert out.rstrip().endswith(str(index))
    page = index.read_text()
    linked = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert {"digits/report.html", "digits/figures/traversal_c1.png"} == set(linked)
    assert all((index.parent / name).exists() for name in linked)
    assert the_run(project).info.run_id in page
    assert "30 of the 4,000 iterations of the experiment." in page
    assert "training.batch_size 32 (there 64)" in page
    assert "InfoGAN on MNIST, with categories that follow clusters: no report yet." in page


def test_a_run_with_an_extension_of_the_paper_says_so_wherever_its_numbers_are(
    make_ingested: Callable[..., Project], tracked: tuple[Project, str]
) -> None:
    """Digits follow clusters, unless they are told not to."""
    project = make_ingested(tracked=True)
    plain = project.run("--params=digits.training.clustering=null")
    assert plain.returncode == 0, plain.stderr
    assert "extended" not in the_run(project).data.tags
    pages = [project.data("08_reporting", name) for name in ("digits/report.html", "index.html")]
    texts = [plain.stdout, the_run(project).data.tags["mlflow.note.content"]]
    said = "Not the paper's game alone"
    assert not any(said in text for text in (*texts, *(page.read_text() for page in pages)))

    extended, out = tracked
    told = "alone, but with training.clustering."
    run = the_run(extended)
    pages = [extended.data("08_reporting", name) for name in ("digits/report.html", "index.html")]
    texts = [out, run.data.tags["extended"], run.data.tags["mlflow.note.content"]]
    assert all(told in text for text in (*texts, *(page.read_text() for page in pages)))


def test_the_tracked_run_tells_the_whole_story(tracked: tuple[Project, str]) -> None:
    project, _ = tracked
    run = the_run(project)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.lr_g"] == "0.001"
    assert run.data.params["model.codes"] == "c1 categorical 10, c2 uniform -1 1, c3 uniform -1 1"
    assert run.data.params["evaluation.samples"] == "200"
    tags = run.data.tags
    assert tags["dataset"] == "digits"
    assert tags["environment"] == "smoke"
    assert {"git_commit", "git_dirty", "data_sha256", "device", "version.torch"} <= tags.keys()
    metrics = json.loads(project.data("08_reporting/digits/metrics.json").read_text())
    for name, value in metrics.items():
        assert run.data.metrics[f"eval/{name}"] == pytest.approx(value)
    store = project.store()
    curve = store.get_metric_history(run.info.run_id, "codes/c1.L_I.minibatch")
    assert [point.step for point in curve] == [5, 10, 15, 20, 25, 30]
    held_out = store.get_metric_history(run.info.run_id, "codes/c1.L_I")
    assert [point.step for point in held_out] == [0, 10, 20, 30]
    names = {each.path for each in store.list_artifacts(run.info.run_id)}
    assert {"report.html", "history.csv", "metrics.json", "figures"} <= names
    figures = {each.path for each in store.list_artifacts(run.info.run_id, "figures")}
    assert "figures/mutual_information.png" in figures


def versions(project: Project) -> list[ModelVersion]:
    return list(project.store().search_model_versions("name='infogan-digits'"))


def test_the_run_leaves_one_model_which_is_the_latest_but_too_small_to_be_the_best(
    tracked: tuple[Project, str],
) -> None:
    project, _ = tracked
    (version,) = versions(project)
    run = the_run(project)
    assert version.run_id == run.info.run_id
    assert len(run.outputs.model_outputs) == 1
    model = project.store().get_registered_model("infogan-digits")
    assert not model.aliases
    (weights,) = (project.folder / "mlartifacts").rglob("infogan.safetensors")
    saved = project.data("06_models/digits/infogan.safetensors")
    assert weights.read_bytes() == saved.read_bytes()


def test_an_evaluation_of_its_own_adds_to_the_run_that_trained_the_model(
    tracked: tuple[Project, str],
) -> None:
    project, _ = tracked
    before = the_run(project)
    done = project.run("--pipelines=digits.evaluation")
    assert done.returncode == 0, done.stderr
    assert len(versions(project)) == 1
    after = the_run(project)
    assert after.info.status == "FINISHED"
    assert after.data.tags["git_commit"] == before.data.tags["git_commit"]
    assert "git_commit_evaluation" in after.data.tags
    assert after.data.metrics == before.data.metrics


def test_a_saved_model_rebuilds_itself_from_its_file_alone(tracked: tuple[Project, str]) -> None:
    project, _ = tracked
    path = project.data("06_models/digits/infogan.safetensors")
    saved = WeightsDataset(str(path)).load()
    model, networks = rebuild(saved.card, saved.arrays)
    assert model.latent_size == 8 + 12
    assert not networks.training
    assert Training.model_validate(saved.card["training"]).iterations == 30


def test_histories_have_a_row_for_the_untrained_model_and_one_an_iteration(
    tracked: tuple[Project, str],
) -> None:
    project, _ = tracked
    rows = RowsDataset(str(project.data("08_reporting/digits/history.csv"))).load()
    assert rows.column("iteration").tolist() == list(range(31))
    assert rows.rows[0][1] is None
    assert abs(rows.column("held_out.c1")[0]) < 0.3


def test_the_report_stands_alone_and_names_its_run(tracked: tuple[Project, str]) -> None:
    project, _ = tracked
    page = project.data("08_reporting/digits/report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count('src="data:image/png;base64,') == 9
    assert the_run(project).info.run_id in page
    assert html.escape(the_run(project).data.tags["mlflow.source.name"]) in page
    assert "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22" in page


def test_the_same_seed_gives_the_same_bytes(
    tracked: tuple[Project, str], prepared: Project
) -> None:
    project, _ = tracked
    for name in (
        "05_model_input/digits/train_images.npy",
        "06_models/digits/infogan.safetensors",
        "06_models/digits/baseline.safetensors",
        "07_model_output/digits/traversals.safetensors",
        "08_reporting/digits/history.csv",
        "08_reporting/digits/figures/traversal_c1.png",
    ):
        assert project.data(name).read_bytes() == prepared.data(name).read_bytes(), name


def test_mnist_runs_from_its_true_file_format(tiny_mnist: Project) -> None:
    done = tiny_mnist.run("--pipeline=mnist")
    assert done.returncode == 0, done.stderr
    assert "Deprecat" not in done.stderr
    for name in ARTIFACTS:
        assert tiny_mnist.data(name.format(d="mnist")).stat().st_size > 0


def test_a_variant_writes_only_below_its_own_data_root(tracked: tuple[Project, str]) -> None:
    project, _ = tracked
    assert {path.name for path in (project.folder / "data").iterdir()} == {"smoke"}


def infogan_run(project: Project, folder: Path, *arguments: str) -> None:
    """`infogan run` of digits' ingestion in a folder; conf/logging.yml says how it logs."""
    done = subprocess.run(
        [BIN / "infogan", "run", "--env=smoke", "--pipelines=digits.ingestion", *arguments],
        check=False,
        cwd=folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d\d:\d\d:\d\d INFO    Running node: fetch", done.stderr)


def test_infogan_run_finds_the_project_from_a_folder_below(project: Project) -> None:
    infogan_run(project, project.folder / "conf" / "local")
    assert project.data("05_model_input/digits/card.json").exists()


def test_the_packaged_project_runs_in_any_folder(tmp_path: Path, project: Project) -> None:
    # What `kedro package` makes is this package, and conf/ apart.
    shutil.copytree(project.folder / "conf", tmp_path / "settings")
    infogan_run(project, tmp_path, "--conf-source=settings")
    assert (tmp_path / "data/smoke/05_model_input/digits/card.json").exists()
