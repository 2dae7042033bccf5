"""What all tests share: fixed seeds, and the smallest model, training and images."""

import random
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from infogan.codes import LatentSpace
from infogan.datasets import WeightsDataset
from infogan.datasets.values import Weights
from infogan.networks import Networks, build, to_arrays
from infogan.options import Model, Training

ROOT = Path(__file__).parents[1]

# Threads only get in each other's way on networks this small.
torch.set_num_threads(1)

# A shell starts its background jobs deaf to Ctrl-C, and they pass that on to what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MODEL: dict[str, Any] = {
    "noise": "uniform 4",
    "codes": ["c1 categorical 3", "c2 uniform -1 1", "c3 uniform 0 4 x2"],
    "spread": "learned",
    "pixel_range": [0.0, 1.0],
    "leaky_slope": 0.1,
    "generator": ["fc 2x2x8 bn relu", "upconv 6 s2 bn relu", "upconv 1 s2 sigmoid"],
    "trunk": ["conv 6 s2 lrelu", "conv 8 s2 bn lrelu"],
    "d_head": [],
    "q_head": ["fc 8 bn lrelu"],
}

TRAINING: dict[str, Any] = {
    "seeds": [0],
    "device": "cpu",
    "iterations": 10,
    "baseline_iterations": 10,
    "batch_size": 8,
    "lr_d": 2e-3,
    "lr_g": 1e-2,
    "betas": [0.5, 0.999],
    "lambda_categorical": 1.0,
    "lambda_continuous": 0.1,
    "mi_trains_trunk": True,
    "baseline": "joint",
    "evaluate_every": 5,
    "evaluation_samples": 100,
    "log_every": 1,
    "checkpoint_every": 5,
}
CLUSTERING = {
    "code": "c1",
    "weight": 1.0,
    "iterations": 4,
    "refinements": 3,
    "lr": 1e-3,
    "temperature": 0.5,
    "certainty": 0.3,
    "rotation": 0.2,
    "scale": 0.1,
    "shear": 0.1,
    "shift": 0.1,
}


@pytest.fixture(autouse=True)
def seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Networks and latent variables in double precision, for laws that hold up to rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def model_block() -> dict[str, Any]:
    return dict(MODEL)


@pytest.fixture
def training_block() -> dict[str, Any]:
    return dict(TRAINING)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """The tiny model for 1x8x8 images, with the named keys changed."""
    return lambda **changes: Model.model_validate({**MODEL, **changes})


@pytest.fixture(scope="session")
def make_training() -> Callable[..., Training]:
    """The tiny training, with the named keys changed."""
    return lambda **changes: Training.model_validate({**TRAINING, **changes})


@pytest.fixture(scope="session")
def make_clustered(make_training: Callable[..., Training]) -> Callable[..., Training]:
    """The same, with few iterations of clustering before."""
    return lambda **changes: make_training(clustering=CLUSTERING, **changes)


@pytest.fixture(scope="session")
def model(make_model: Callable[..., Model]) -> Model:
    return make_model()


@pytest.fixture(scope="session")
def training(make_training: Callable[..., Training]) -> Training:
    return make_training()


@pytest.fixture
def space(model: Model) -> LatentSpace:
    return LatentSpace(model)


@pytest.fixture
def networks(model: Model) -> Networks:
    """Batch-norm statistics other than 0 and 1, and weights large enough to see something."""
    networks = build(model, (1, 8, 8), seed=0)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.mul_(5)
    networks.discriminator(networks.generator(torch.randn(50, model.latent_size)))
    return networks


@pytest.fixture
def images() -> np.ndarray:
    """28 different uint8 images (N, 1, 8, 8): three batches of eight, and four left over."""
    return np.random.default_rng(0).integers(0, 256, (28, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="session")
def mnist() -> dict[str, Any]:
    """All blocks of MNIST, as conf/base has them."""
    path = ROOT / "conf" / "base" / "parameters_mnist.yml"
    blocks: dict[str, Any] = yaml.safe_load(path.read_text())["mnist"]
    return blocks


@pytest.fixture
def saved_model(model: Model, tmp_path: Path) -> Path:
    """The tiny model, untrained, in the place where a run would leave it."""
    path = tmp_path / "data" / "06_models" / "toy" / "infogan.safetensors"
    card = {"model": model.model_dump(mode="json"), "image_shape": [1, 8, 8]}
    WeightsDataset(str(path)).save(Weights(to_arrays(build(model, (1, 8, 8), 0)), card))
    return path


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow to copy: its tables take seconds to make."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        warnings.simplefilter("ignore")
        client = MlflowClient(f"sqlite:///{path}")
        client.search_experiments()
        client._tracking_client.store._dispose_engine()
    return path
