"""The Inception FID: torchmetrics' number, of the right images, by the right weights only."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3
from torchmetrics.image.fid import FrechetInceptionDistance

from infogan import inception
from infogan.errors import UserError
from infogan.inception import InceptionDistance, load_metric
from infogan.quality import classifier_frechet_distance

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """uint8 (1797, 1, 8, 8)."""
    return (load_digits().images[:, None] * (255 / 16)).astype(np.uint8)


class Means(nn.Module):
    """In place of Inception: the mean of each quarter of the image, in each of three channels."""

    num_features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1] == 3
        return nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """torchmetrics' FID of `Means`; gives the weights that were asked for."""
    asked: list[str] = []

    def metric(weights: str) -> Any:
        asked.append(weights)
        return FrechetInceptionDistance(Means(), reset_real_features=False)

    monkeypatch.setattr(inception, "load_metric", metric)
    return asked


def mean_features(images: np.ndarray) -> np.ndarray:
    return Means()(torch.from_numpy(images).expand(-1, 3, -1, -1)).double().numpy()


def test_the_distance_is_that_to_half_of_the_real_images(
    means: list[str], digits: np.ndarray
) -> None:
    real, made = digits[:130], digits[200:330] // 2
    distance = InceptionDistance.of("w.pth", real, 60, 3, CPU)
    numbers = distance.judge(made)
    assert means == ["w.pth"]
    assert numbers["frechet_inception_images"] == 60

    halves = np.split(np.random.default_rng(3).permutation(130)[:120], 2)
    reference, held_out = (mean_features(real[half]) for half in halves)
    features = mean_features(made[:60])
    # torchmetrics gives a number of single precision.
    expected = classifier_frechet_distance(reference, features)
    assert numbers["frechet_inception_distance"] == pytest.approx(expected, rel=1e-5)
    floor = classifier_frechet_distance(reference, held_out)
    assert numbers["frechet_inception_distance_of_real"] == pytest.approx(floor, rel=1e-4)
    assert numbers["frechet_inception_distance"] > 10 * floor


def test_a_model_is_judged_as_if_there_had_been_no_other(
    means: list[str], digits: np.ndarray
) -> None:
    real, good, bad = digits[:100], digits[100:150], digits[150:200] // 3
    alone = InceptionDistance.of("w.pth", real, 50, 0, CPU).judge(good)
    second = InceptionDistance.of("w.pth", real, 50, 0, CPU)
    second.judge(bad)
    assert second.judge(good) == alone


def test_of_few_real_images_no_more_generated_ones_are_looked_at(
    means: list[str], digits: np.ndarray
) -> None:
    distance = InceptionDistance.of("w.pth", digits[:41], 5000, 0, CPU)
    assert distance.judge(digits[:90])["frechet_inception_images"] == 20
    assert distance.judge(digits[:90]) == distance.judge(digits[:20])


# --- The weights ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the FID's network that have learned nothing."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    network = feature_extractor_inceptionv3.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: 0
        )
        patch.setattr(network, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        torch.save(network("inception-v3-compat", ["2048"]).state_dict(), path)
    return path


def test_the_network_has_the_weights_of_the_file_and_sees_images_of_a_memory_map(
    untrained: Path, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(untrained.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "_SHA256", digest)
    np.save(tmp_path / "images.npy", digits[:4])
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    distance = InceptionDistance.of(str(untrained), images, 5000, 0, CPU)
    network = distance.metric.inception
    saved = torch.load(untrained, weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in network.state_dict().items())
    assert not network.use_antialias  # as the original does
    seen = distance.metric.real_features_sum
    assert seen.shape == (2048,)
    shown = np.sort(np.random.default_rng(0).permutation(4)[:2])
    features = network(torch.from_numpy(digits[shown]).expand(-1, 3, -1, -1))
    torch.testing.assert_close(seen.float(), features.sum(0))


def test_other_weights_are_refused_before_they_are_opened(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins = hashlib.sha256(untrained.read_bytes()).hexdigest()[:8]
    with pytest.raises(UserError, match=rf"whose sha256 begins with {begins}: it .* 6726825d\.$"):
        load_metric(str(untrained))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, why in (("missing.pth", "No such file or directory"), ("", "Is a directory")):
        with pytest.raises(UserError, match=rf"~/{name}, which cannot be read \({why}\): it sho"):
            load_metric(f"~/{name}")
    (tmp_path / "some.pth").write_text("weights")
    with pytest.raises(UserError, match=r"~/some\.pth, whose sha256 begins with"):
        load_metric("~/some.pth")


@pytest.mark.parametrize("package", ["torch_fidelity", "torchmetrics.image.fid"])
def test_without_torchmetrics_the_extra_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'infogan\[fid\]'"):
        load_metric("weights.pth")
