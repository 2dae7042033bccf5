"""What is wrong is said in one clear sentence, with a non-zero exit and nothing lost."""

import re
import subprocess

import numpy as np
import pytest
from kedro_project import Project


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The error a person reads; no traceback, and the exit says so, too."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (error,) = re.findall(r"^Error: (.*)", done.stderr, flags=re.MULTILINE | re.DOTALL)
    return error.strip()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("digits.training.lr_dd=0.1", ["training.lr_dd is not a known key", "did you mean lr_d?"]),
        ("digits.training.iterations=many", ["training.iterations is 'many'", "valid integer"]),
        ("digits.training.batch_size=5000", ["batch_size is 5000", "only 1500 images"]),
        ("digits.model.leaky_slope=-1", ["model.leaky_slope is -1"]),
    ],
)
def test_a_wrong_parameter_stops_before_anything_is_computed(
    project: Project, params: str, words: list[str]
) -> None:
    error = refusal(project.run(f"--params={params}"))
    for word in words:
        assert word in error
    assert not project.data("05_model_input").exists()


def test_networks_that_do_not_make_the_images_are_refused(project: Project) -> None:
    path = project.folder / "conf" / "smoke" / "parameters_digits.yml"
    path.write_text(path.read_text().replace("fc 2x2x8 bn relu", "fc 3x3x8 bn relu"))
    error = refusal(project.run())
    assert "model.generator ends in images of 1x12x12, but data.shape is 1x8x8" in error
    assert not project.data("05_model_input").exists()


def test_an_order_of_columns_that_is_none_is_refused_before_anything_is_computed(
    project: Project,
) -> None:
    path = project.folder / "conf" / "smoke" / "parameters_digits.yml"
    path.write_text(path.read_text() + "    column_order: {c1: [3, 1, 1]}\n")
    assert refusal(project.run()) == (
        "Parameters of digits: reporting.column_order.c1 is [3, 1, 1]: it must name each of the "
        "categories 0 to 9 once."
    )
    assert not project.data("05_model_input").exists()


def test_a_misspelt_pipeline_is_answered_with_the_nearest(project: Project) -> None:
    assert "mnist" in refusal(project.run("--pipelines=mnits"))


def test_a_source_that_cannot_be_reached_says_what_to_put_where(tiny_mnist: Project) -> None:
    tiny_mnist.variables["INFOGAN_MIRROR"] = str(tiny_mnist.folder / "nowhere")
    error = refusal(tiny_mnist.run("--pipelines=mnist.ingestion"))
    assert "train-images-idx3-ubyte.gz" in error
    assert "data/smoke/01_raw/mnist" in error
    assert "INFOGAN_MIRROR" in error
    assert re.search(r"[\d,]+ bytes  sha256 [0-9a-f]{64}", error)


def test_a_stage_without_its_input_names_the_command_that_makes_it(project: Project) -> None:
    error = refusal(project.run("--pipelines=digits.training"))
    assert "train_images.npy is missing" in error
    assert error.endswith(": run `kedro run --env=smoke --pipelines=digits.ingestion`.")


def test_a_model_of_another_configuration_is_not_evaluated(trained: Project) -> None:
    before = trained.data("08_reporting/digits/metrics.json").read_bytes()
    done = trained.run("--pipelines=digits.evaluation", "--params=digits.model.leaky_slope=0.2")
    error = refusal(done)
    assert "was trained with model.leaky_slope = 0.1, but the parameters now say 0.2" in error
    assert trained.data("08_reporting/digits/metrics.json").read_bytes() == before


def test_images_other_than_the_card_describes_are_not_trained_on(trained: Project) -> None:
    path = trained.data("05_model_input/digits/train_images.npy")
    images = np.load(path)
    np.save(path, 255 - images)
    error = refusal(trained.run("--pipelines=digits.training"))
    assert error.endswith("those that card.json beside them describes: run the ingestion again.")
    np.save(path, images[:-1])
    assert refusal(trained.run("--pipelines=digits.training")) == error


def test_a_corrupt_model_file_is_named(trained: Project) -> None:
    path = trained.data("06_models/digits/infogan.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    error = refusal(trained.run("--pipelines=digits.evaluation"))
    assert "infogan.safetensors is not a readable safetensors file" in error


def test_a_data_folder_that_cannot_be_written_is_named(project: Project) -> None:
    (project.folder / "data").mkdir()
    project.data().write_text("a file where a folder should be")
    error = refusal(project.run())
    assert "data/smoke" in error


def test_a_full_disk_is_named_and_leaves_nothing_half_written(project: Project) -> None:
    project.largest_file = 70_000
    error = refusal(project.run())
    assert "File too large" in error
    assert "05_model_input/.digits/train.part" in error
    assert not project.data("05_model_input/digits").exists()


def test_an_unreachable_tracking_server_costs_no_training(project: Project) -> None:
    project.variables = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("WITHOUT TRACKING") == 1
    assert "MLflow:  not tracked" in done.stdout
    assert project.data("08_reporting/digits/metrics.json").exists()
