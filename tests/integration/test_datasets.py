"""Every experiment from its true raw format to its report, in the smoke environment.

On the real files the same is done by .ci/run, where they are at hand.
"""

import csv
import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from kedro_project import Project
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from scipy.io import savemat

from infogan.pipeline_registry import DATASETS

COLOURS = np.random.default_rng(0).integers(0, 256, (1000, 3), dtype=np.uint8)


Done = subprocess.CompletedProcess[str]


def finished(project: Project, dataset: str, *arguments: str) -> dict[str, float]:
    """The metrics of a whole run, whose other results are there, too."""
    done = project.run(f"--pipelines={dataset}", *arguments)
    assert done.returncode == 0, done.stderr
    return results(project, dataset, done)


def results(project: Project, dataset: str, done: Done) -> dict[str, float]:
    """The metrics that a run has left, beside all else."""
    model = card(project, dataset)["source"].get("model")
    name = f"{dataset} ({model})" if model else dataset
    assert f"\n{name}: what was found\n" in done.stdout
    assert "INFOGAN_TRACKING" in project.variables or f"{name}: MLflow run " in done.stderr
    report = project.data("08_reporting", dataset)
    assert (report / "report.html").stat().st_size > 0
    assert {"mutual_information.png", "traversal_c1.png", "samples.png"} <= {
        path.name for path in (report / "figures").iterdir()
    }
    assert not project.data("05_model_input", f".{dataset}").exists()
    metrics: dict[str, float] = json.loads((report / "metrics.json").read_text())
    return metrics


def card(project: Project, dataset: str) -> dict[str, Any]:
    path = project.data("05_model_input", dataset, "card.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def pin(project: Project, dataset: str, files: dict[str, bytes]) -> None:
    """Put files into a mirror, and pin them as the samples of the smoke environment."""
    mirror = project.folder / "mirror" / dataset
    mirror.mkdir(parents=True)
    samples = []
    for name, content in files.items():
        (mirror / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        samples.append({"name": name, "bytes": len(content), "sha256": digest})
    path = project.folder / "conf" / "smoke" / f"parameters_{dataset}.yml"
    parameters = yaml.safe_load(path.read_text())
    parameters[dataset]["source"]["samples"] = samples
    path.write_text(yaml.safe_dump(parameters))
    project.variables["INFOGAN_MIRROR"] = str(mirror.parent)


def picture(number: int, size: tuple[int, int], kind: str = "JPEG") -> bytes:
    """A picture of one colour, different for each number."""
    content = io.BytesIO()
    Image.new("RGB", size, tuple(COLOURS[number].tolist())).save(content, kind)
    return content.getvalue()


def tracked_runs(project: Project) -> dict[str, Run]:
    """By dataset, each of which has one."""
    store = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    found = {}
    for experiment in store.search_experiments():
        runs = store.search_runs([experiment.experiment_id])
        if runs:
            (found[experiment.name.removeprefix("smoke-")],) = runs
    return found


DIGITS_OF_SVHN = np.random.default_rng(0).integers(1, 11, (640, 1))


@pytest.fixture(scope="module")
def both(make_project: Callable[..., Project]) -> tuple[Project, Done]:
    """Digits and, from a mirror with a sample in the true format, SVHN, in one command."""
    project = make_project(tracked=True)
    content = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 640), dtype=np.uint8)
    savemat(content, {"X": pixels, "y": DIGITS_OF_SVHN.astype(np.uint8)})
    pin(project, "svhn", {"test_32x32_first640.mat": content.getvalue()})
    done = project.run("--pipelines=digits,svhn")
    assert done.returncode == 0, done.stderr
    return project, done


def test_svhn_runs_on_a_sample_and_says_so(both: tuple[Project, Done]) -> None:
    project, done = both
    metrics = results(project, "svhn", done)
    assert metrics["partial.images"] == 640
    assert metrics["partial.of"] == 73257 + 26032
    each = [metrics[f"error_one_to_one.c{i}"] for i in range(1, 5)]
    assert metrics["error_one_to_one"] in each
    assert "error_kmeans" in metrics
    assert "error_baseline" not in metrics
    assert not [name for name in metrics if name.startswith("baseline_")]
    assert card(project, "svhn")["partial"] == {"images": 640, "of": 99289}
    report = project.data("08_reporting/svhn/report.html").read_text()
    assert "Partial: 640 of 99,289 images" in report
    assert "640 of 99,289 images" in report
    labels = np.load(project.data("05_model_input/svhn/train_labels.npy"))
    np.testing.assert_array_equal(labels, DIGITS_OF_SVHN[:400, 0] % 10)


def test_two_datasets_in_one_command_have_a_tracked_run_each(both: tuple[Project, Done]) -> None:
    project, _ = both
    runs = tracked_runs(project)
    assert set(runs) == {"digits", "svhn"}
    for dataset, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["dataset"] == dataset
        report = project.data("08_reporting", dataset)
        metrics = json.loads((report / "metrics.json").read_text())
        logged = {name: value for name, value in run.data.metrics.items() if "eval/" in name}
        assert logged == {f"eval/{name}": pytest.approx(each) for name, each in metrics.items()}
        record = project.data("06_models", dataset, "infogan_record.json")
        assert json.loads(record.read_text())["mlflow_run_id"] == run.info.run_id
    assert runs["svhn"].data.tags["partial"] == "640 of 99289"
    assert "partial" not in runs["digits"].data.tags
    assert runs["digits"].data.params["model.codes"].startswith("c1 categorical 10, c2 uniform")
    assert runs["svhn"].data.params["model.codes"].startswith("c1 categorical 10, c2 categorical")

    again = project.run("--pipelines=digits.reporting,svhn.evaluation")
    assert again.returncode == 0, again.stderr
    after = tracked_runs(project)
    assert "git_commit_reporting" in after["digits"].data.tags
    assert "git_commit_evaluation" in after["svhn"].data.tags


def test_celeba_runs_on_a_sample_and_compares_codes_with_attributes(project: Project) -> None:
    names = [f"{number:06d}.jpg" for number in range(1, 651)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number, name in enumerate(names[:-20]):  # the lists know more than there is
            file.writestr(f"img_align_celeba/{name}", picture(number, (178, 218)))
    bright = COLOURS[:650].mean(axis=1) > 127
    attributes = [f"{name} {1 if b else -1} -1" for name, b in zip(names, bright, strict=True)]
    attributes = [line + " -1" * 38 for line in attributes]
    header = ["650", " ".join(["Bright", *(f"A{i}" for i in range(39))])]
    partition = [f"{name} {0 if n < 420 else 2}" for n, name in enumerate(names)]
    files = {
        "img_align_celeba.zip": archive.getvalue(),
        "list_attr_celeba.txt": "\r\n".join([*header, *attributes, ""]).encode(),
        "list_eval_partition.txt": "\r\n".join([*partition, ""]).encode(),
    }
    pin(project, "celeba", files)

    metrics = finished(project, "celeba")
    assert metrics["partial.images"] == 630
    assert metrics["information.Bright"] >= 0
    assert "information_chance.Bright" in metrics
    assert "mig" not in metrics  # attributes are no independent causes
    factors = np.load(project.data("04_feature/celeba/train_factors.npy"))
    np.testing.assert_array_equal(factors[:, 0], bright[:400])
    assert project.data("08_reporting/celeba/figures/known_factors.png").exists()
    report = project.data("08_reporting/celeba/report.html").read_text()
    for code in range(1, 11):
        assert report.count(f"<td>c{code}</td>") == 3  # attributes


def test_faces_run_from_a_model_that_a_person_brings(project: Project) -> None:
    random = np.random.default_rng(0)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rings = [
        np.stack([r * np.cos(around), np.full(12, y), r * np.sin(around)], 1)
        for y, r in ((-1, 0.3), (0, 0.8), (1, 0.3))
    ]
    vertices = np.concatenate(rings)
    i = np.arange(12)
    j = (i + 1) % 12
    triangles = np.concatenate(
        [np.stack([i + k, i + k + 12, j + k], 1) for k in (0, 12)]
        + [np.stack([j + k, i + k + 12, j + k + 12], 1) for k in (0, 12)]
    )
    path = project.folder / "head.h5"
    with h5py.File(path, "w") as file:
        file["shape/model/mean"] = vertices.ravel()
        file["shape/model/pcaBasis"] = random.normal(size=(vertices.size, 3))
        file["shape/model/pcaVariance"] = np.full(3, 1e-3)
        file["shape/representer/cells"] = triangles.T

    del project.variables["INFOGAN_TRACKING"]
    metrics = finished(project, "faces", f"--params=faces.source.path={path}")
    assert tracked_runs(project)["faces"].data.tags["data"] == "faces (Basel Face Model)"
    for factor in ("azimuth", "elevation", "light", "width"):
        assert 0 <= metrics[f"correlation.{factor}"] <= 1
        each = [metrics[f"correlation.c{i}.{factor}"] for i in range(1, 6)]
        assert metrics[f"correlation.{factor}"] == max(each)
    assert "mig" not in metrics  # of 100 images
    assert "error_one_to_one" not in metrics
    report = project.data("08_reporting/faces/report.html").read_text()
    assert "<h1>InfoGAN on faces (Basel Face Model)</h1>" in report  # never another's name
    assert np.load(project.data("04_feature/faces/test_factors.npy")).shape == (100, 4)
    assert np.load(project.data("05_model_input/faces/train_images.npy")).shape == (300, 1, 32, 32)


def test_chairs_run_on_procedural_ones_in_the_archives_layout(project: Project) -> None:
    metrics = finished(project, "chairs")
    assert metrics["correlation.c4.azimuth"] >= 0
    assert "partial.images" not in metrics
    (one, *others) = project.data("01_raw/chairs/rendered_chairs").glob("*/")
    assert len(others) == 7
    assert len(list((one / "renders").glob("image_*_p0[23]0_t*_r096.png"))) == 62
    assert "procedural chairs" in project.data("08_reporting/chairs/report.html").read_text()
    train = np.load(project.data("04_feature/chairs/train_factors.npy"))
    assert sorted(set(train[:, 1])) == [20, 30]
    assert len(set(train[:, 0])) == 31
    shapes = np.load(project.data("05_model_input/chairs/train_labels.npy"))
    assert set(shapes) <= set(range(8))
    assert 0 <= metrics["error_majority"] <= 1  # one minus the purity of categories by shape


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Sixty pictures of two classes and all sizes, and four files that are none."""
    folder = tmp_path / "pictures"
    for number in range(60):
        path = (
            folder
            / ("cats" if number % 2 else "dogs")
            / f"{number}.{'png' if number % 3 else 'jpg'}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if number % 3 else "JPEG"
        path.write_bytes(picture(number, (40 + number, 90 - number), kind))
    Image.new("L", (50, 50), 99).save(folder / "cats" / "grey.png")
    (folder / "cats" / "empty.png").write_bytes(b"")
    (folder / "dogs" / "cut.jpg").write_bytes(picture(0, (64, 64))[:300])
    (folder / "dogs" / "words.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


def test_a_folder_of_images_runs_and_lists_what_cannot_be_used(
    project: Project, pictures: Path
) -> None:
    metrics = finished(project, "folder", f"--params=folder.source.path={pictures}")
    assert "error_one_to_one" in metrics  # cats and dogs
    rejected = project.data("08_reporting/folder/rejected.csv")
    rows = list(csv.DictReader(rejected.read_text().splitlines()))
    assert {row["image"] for row in rows} == {"cats/empty.png", "dogs/cut.jpg", "dogs/words.png"}
    assert all(row["reason"] for row in rows)
    found = card(project, "folder")
    assert found["rejected"] == 3
    assert sum(split["images"] for split in found["splits"].values()) == 61
    categories = project.data("07_model_output/folder/categories.json").read_text()
    assert json.loads(categories)["class_names"] == ["cats", "dogs"]
    assert "cats, dogs" in project.data("08_reporting/folder/report.html").read_text()


def refusal(project: Project, *arguments: str) -> str:
    done = project.run(*arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr[done.stderr.rindex("Error:") :]


def test_a_folder_with_one_image_or_none_or_no_folder_is_refused(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "pictures"
    run = ("--pipelines=folder", f"--params=folder.source.path={path}")
    assert "where there is nothing" in refusal(project, *run)
    path.mkdir()
    assert "holds no image" in refusal(project, *run)
    (path / "one.png").write_bytes(picture(0, (32, 32), "PNG"))
    assert "at least 2 are needed" in refusal(project, *run)


def test_a_batch_larger_than_the_folder_is_refused_before_training(
    project: Project, pictures: Path
) -> None:
    parameters = f"folder.source.path={pictures},folder.training.batch_size=64"
    error = refusal(project, "--pipelines=folder", f"--params={parameters}")
    assert "batch_size is 64, but there are only 5" in error


def test_celeba_without_its_files_says_what_to_put_where(project: Project) -> None:
    error = refusal(project, "--pipelines=celeba")
    for name in ("img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt"):
        assert name in error
    assert "Put these files into" in error
    assert "data/smoke/01_raw/celeba" in error
    assert "or the unpacked folder img_align_celeba" in error


def test_an_interrupted_ingestion_is_continued(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project(tracked=False)
    project.variables["INFOGAN_TRACKING"] = "0"
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(900):
        (folder / f"{number}.png").write_bytes(picture(number, (600, 400), "PNG"))
    run = ("--pipelines=folder.ingestion", f"--params=folder.source.path={folder}")
    progress = project.data("05_model_input/.folder/train.json")
    process = project.start(*run)
    project.wait_for(process, progress.exists)
    process.terminate()
    process.communicate(timeout=120)
    done = json.loads(progress.read_text())["done"]
    assert done > 0

    assert project.run(*run).returncode == 0
    images = np.load(project.data("05_model_input/folder/train_images.npy"))
    assert len(images) == 810
    hashes = [hashlib.sha256(f"{number}.png".encode()).digest() for number in range(900)]
    colours = COLOURS[sorted(range(900), key=hashes.__getitem__)[:810]]
    np.testing.assert_array_equal(images, np.broadcast_to(colours[..., None, None], images.shape))


def test_every_dataset_has_its_smoke_run_here_or_beside() -> None:
    tested = {"svhn", "celeba", "faces", "chairs", "folder"}
    assert tested | {"digits", "mnist"} == set(DATASETS)
