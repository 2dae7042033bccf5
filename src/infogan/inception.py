"""The Inception FID of generated images, by torchmetrics, for those who have the weights.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium", appendix A1. Shapes: N images (N, C, H, W) in uint8.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infogan.errors import UserError
from infogan.files import digest

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_PASS = 50  # images at a time, which become 299 pixels wide and high


@dataclass(frozen=True)
class InceptionDistance:
    """The Fréchet inception distance to real images: of generated ones, and of other real ones.

    It is biased upwards, the more so the fewer the images: compare only numbers of equally many.
    """

    metric: Any  # torchmetrics', which has seen the real images
    images: int  # of each kind
    of_real: float

    @classmethod
    def of(
        cls, weights: str, real: np.ndarray, count: int, seed: int, device: torch.device
    ) -> "InceptionDistance":
        """To one half of ``2 * count`` real images, drawn at random, or of all if they are fewer.

        The other half, as if it had been generated, gives ``of_real``. UserError as `load_metric`.
        """
        metric = load_metric(weights).to(device)
        images = min(len(real) // 2, count)
        drawn = np.random.default_rng(seed).permutation(len(real))[: 2 * images]
        reference, held_out = np.split(drawn, 2)
        _show(metric, real[np.sort(reference)], real=True)
        return cls(metric, images, _distance(metric, real[np.sort(held_out)]))

    def judge(self, made: np.ndarray) -> dict[str, float]:
        """The distance of the first ``images`` generated ones, beside that of real ones."""
        return {
            "frechet_inception_images": float(self.images),
            "frechet_inception_distance": _distance(self.metric, made[: self.images]),
            "frechet_inception_distance_of_real": self.of_real,
        }


def _distance(metric: Any, images: np.ndarray) -> float:
    metric.reset()  # all but what it has seen of real images
    _show(metric, images, real=False)
    return float(metric.compute())


@torch.no_grad()
def _show(metric: Any, images: np.ndarray, *, real: bool) -> None:
    """Grey images in three equal channels."""
    for start in range(0, len(images), _PASS):
        part = torch.from_numpy(images[start : start + _PASS]).expand(-1, 3, -1, -1)
        metric.update(part.to(metric.device), real=real)


def load_metric(weights: str) -> Any:
    """FID of torchmetrics, which resizes images as the original does, with the weights of a file.

    UserError if torchmetrics is not installed, or the file is not the one that everybody uses.
    """
    try:
        import torch_fidelity  # noqa: F401 - torchmetrics has the network from it
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ModuleNotFoundError:
        raise UserError(
            "The Inception FID needs torchmetrics and torch-fidelity: pip install 'infogan[fid]'."
        ) from None
    path = Path(os.path.expanduser(weights))
    wanted = f"it should be the path of {WEIGHTS}, as torch-fidelity publishes it"
    try:
        found = digest(path, "sha256")
    except OSError as error:
        raise UserError(
            f"evaluation.inception_weights is {weights}, which cannot be read "
            f"({error.strerror}): {wanted}."
        ) from None
    # With other weights the number would not be the FID; and what a pickle says would be done.
    if found != _SHA256:
        raise UserError(
            f"evaluation.inception_weights is {weights}, whose sha256 begins with {found[:8]}: "
            f"{wanted}, with {_SHA256[:8]}."
        )
    return FrechetInceptionDistance(
        reset_real_features=False, feature_extractor_weights_path=str(path), antialias=False
    )
