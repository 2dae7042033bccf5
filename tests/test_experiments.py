"""The parameter files against the paper's tables, and every environment against itself."""

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from infogan.options import (
    BLOCKS,
    FURTHER_BLOCKS,
    CategoricalPrior,
    Data,
    Model,
    Training,
    UniformPrior,
    check_blocks,
    extensions,
)
from infogan.pipeline_registry import DATASETS, STUDIED

CONF = Path(__file__).parents[1] / "conf"

CODES = {
    "mnist": ([10], 2),
    "svhn": ([10] * 4, 4),
    "celeba": ([10] * 10, 0),
    "faces": ([], 5),
    "chairs": ([20] * 3, 1),
}
# lr of D/Q and G, lambda of categorical and continuous codes: Appendix C, Tables 5 and 7. Where
# the paper says only that lambda is smaller for continuous codes, it is 0.1.
SETTINGS = {
    ("paper", "mnist"): (2e-4, 1e-3, 1, 0.1),
    ("base", "svhn"): (2e-4, 1e-3, 1, 0.1),
    ("base", "celeba"): (2e-4, 1e-3, 1, None),
    ("base", "faces"): (2e-4, 5e-4, None, 0.2),
    ("elevation", "faces"): (4e-4, 3e-4, None, 0.1),
    ("lighting", "faces"): (8e-4, 3e-4, None, 0.1),
    ("base", "chairs"): (2e-4, 1e-3, 1, 10),
    ("paper", "faces"): (2e-4, 5e-4, None, 0.2),
    ("width", "chairs"): (2e-4, 1e-3, 2, 0.05),
    ("procedural", "chairs"): (2e-4, 1e-3, 1, 10),
    ("procedural_width", "chairs"): (2e-4, 1e-3, 2, 0.05),
}


def parameters(environment: str, dataset: str) -> dict[str, Any]:
    """As Kedro merges them: an environment repeats only what differs."""
    name = f"parameters_{dataset}.yml"
    layers = [yaml.safe_load((CONF / "base" / name).read_text())]
    if environment != "base":
        layers.append(yaml.safe_load((CONF / environment / name).read_text()))
    merged = OmegaConf.to_container(OmegaConf.merge(*layers))
    assert isinstance(merged, dict)
    return dict(merged[dataset])


EVERY = [
    (path.parent.name, path.stem.removeprefix("parameters_"))
    for path in sorted(CONF.glob("*/parameters_*.yml"))
]


@pytest.mark.parametrize(("environment", "dataset"), EVERY)
def test_the_parameters_of_every_environment_are_valid(environment: str, dataset: str) -> None:
    written = parameters(environment, dataset)
    study = written.pop("study", None)
    assert (study is not None) == (dataset in STUDIED)
    assert study is None or FURTHER_BLOCKS["study"].model_validate(study)
    assert set(written) == set(BLOCKS)
    blocks = {name: kind.model_validate(written[name]) for name, kind in BLOCKS.items()}
    data, model, training = blocks["data"], blocks["model"], blocks["training"]
    assert isinstance(data, Data)
    assert isinstance(model, Model)
    assert isinstance(training, Training)
    check_blocks(data, model, training)


@pytest.mark.parametrize(("environment", "dataset"), EVERY)
def test_every_environment_says_how_it_is_started(environment: str, dataset: str) -> None:
    text = (CONF / environment / f"parameters_{dataset}.yml").read_text()
    command = "kedro run" if dataset == "digits" else f"kedro run --pipeline={dataset}"
    assert command in text.partition(f"\n{dataset}:")[0]
    if environment != "base":
        assert f"--env={environment}" in text


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("environment", ["base", "quick", "smoke"])
def test_every_dataset_has_a_base_a_quick_and_a_smoke_run(dataset: str, environment: str) -> None:
    assert (CONF / environment / f"parameters_{dataset}.yml").exists()


def test_no_two_environments_write_to_the_same_folder() -> None:
    roots = [yaml.safe_load(path.read_text())["data_root"] for path in CONF.glob("*/globals.yml")]
    assert len(set(roots)) == len(roots) == len(list(CONF.glob("*/globals.yml")))


@pytest.mark.parametrize("dataset", CODES)
def test_codes_are_the_papers(dataset: str) -> None:
    model = Model.model_validate(parameters("base", dataset)["model"])
    categories = [code.categories for code in model.codes if isinstance(code, CategoricalPrior)]
    uniform = [code for code in model.codes if isinstance(code, UniformPrior)]
    assert (categories, len(uniform)) == CODES[dataset]
    assert all((code.low, code.high, code.dim) == (-1, 1, 1) for code in uniform)
    entropy = sum(code.entropy for code in model.codes)
    expected = sum(map(math.log, categories)) + len(uniform) * math.log(2)
    assert entropy == pytest.approx(expected)


@pytest.mark.parametrize(("environment", "dataset"), SETTINGS)
def test_rates_and_weights_are_those_of_the_appendix(environment: str, dataset: str) -> None:
    training = Training.model_validate(parameters(environment, dataset)["training"])
    lr_d, lr_g, categorical, continuous = SETTINGS[environment, dataset]
    assert (training.lr_d, training.lr_g) == (lr_d, lr_g)
    assert categorical in (None, training.lambda_categorical)
    assert continuous in (None, training.lambda_continuous)
    assert training.batch_size == 128
    assert training.betas == (0.5, 0.999)


@pytest.mark.parametrize("dataset", ["svhn", "celeba", "chairs"])
def test_the_printed_settings_of_others_are_those_of_the_base(dataset: str) -> None:
    assert parameters("paper", dataset) == parameters("base", dataset)


def test_a_learned_sigma_is_all_that_the_printed_settings_of_faces_have_otherwise() -> None:
    base, paper = parameters("base", "faces"), parameters("paper", "faces")
    assert base["model"]["spread"] == "fixed"
    base["model"]["spread"] = "learned"
    assert paper == base


@pytest.mark.parametrize("environment", ["quick", "sample"])
@pytest.mark.parametrize(("dataset", "weight"), [("svhn", (0.1, 0.02)), ("celeba", (0.1, 0.1))])
def test_short_runs_have_weights_by_which_something_forms(
    environment: str, dataset: str, weight: tuple[float, float]
) -> None:
    training = parameters(environment, dataset)["training"]
    assert (training["lambda_categorical"], training["lambda_continuous"]) == weight


def test_renders_in_a_folder_have_the_networks_of_faces() -> None:
    assert parameters("renders", "folder")["model"] == parameters("base", "faces")["model"]


def test_the_recipes_of_mnists_study_are_its_environments() -> None:
    base = parameters("base", "mnist")
    modern, official = base["study"]["recipes"]["modern"], base["study"]["recipes"]["official"]
    assert modern == {}
    assert parameters("official", "mnist")["model"] == base["model"]
    changed = {**base["training"], **official["training"]}
    assert parameters("official", "mnist")["training"] == changed


@pytest.mark.parametrize(("environment", "dataset"), [*SETTINGS, ("official", "mnist")])
def test_what_is_the_papers_has_no_extension(environment: str, dataset: str) -> None:
    written = parameters(environment, dataset)
    model, training = (
        kind.model_validate(written[block])
        for kind, block in ((Model, "model"), (Training, "training"))
    )
    assert extensions(model, training) == ""


def test_the_published_code_and_the_appendix_differ_on_mnist() -> None:
    official, printed = (parameters(name, "mnist") for name in ("official", "paper"))
    assert (official["model"]["spread"], official["model"]["leaky_slope"]) == ("fixed", 0.01)
    assert (printed["model"]["spread"], printed["model"]["leaky_slope"]) == ("learned", 0.1)
    assert official["training"]["lambda_continuous"] == 1.0
    assert (official["data"]["train"], printed["data"]["train"]) == (
        "train[5000:60000]",
        "train[0:60000]",
    )


def test_the_crop_of_figure_6_is_the_one_measured_on_its_tiles() -> None:
    assert parameters("base", "celeba")["data"]["transforms"][0] == "center_crop 108x108"
    assert parameters("figure6", "celeba")["data"]["transforms"][0] == "center_crop 105x86"


@pytest.mark.parametrize("size", [28, 32, 64, 128])
def test_a_folder_has_networks_for_every_size(size: int) -> None:
    environment = "base" if size == 64 else f"size{size}"
    data = parameters(environment, "folder")["data"]
    assert data["shape"][1:] == [size, size]
    assert f"resize {size}x{size}" in data["transforms"]


def test_procedural_width_is_procedural_and_width_in_one() -> None:
    both = parameters("procedural_width", "chairs")
    procedural, width = parameters("procedural", "chairs"), parameters("width", "chairs")
    assert both == {**procedural, "training": width["training"]}


def test_what_an_environment_writes_is_not_for_git() -> None:
    roots = [yaml.safe_load(path.read_text())["data_root"] for path in CONF.glob("*/globals.yml")]
    written = [f"{root}/05_model_input/digits/card.json" for root in [*roots, "data/of_my_own"]]
    for path in written:
        ask = ["git", "check-ignore", "--quiet", "--no-index", path]
        assert subprocess.run(ask, cwd=CONF.parent, check=False).returncode == 0, path
    kept = "data/08_reporting/digits/metrics.json"
    ask = ["git", "check-ignore", "--quiet", "--no-index", kept]
    assert subprocess.run(ask, cwd=CONF.parent, check=False).returncode == 1
