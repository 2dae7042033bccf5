"""That the game teaches: real digits, from their pixels to codes that a trained Q reads."""

from pathlib import Path

import numpy as np
import torch
import yaml
from sklearn.datasets import load_digits

from infogan.codes import LatentSpace
from infogan.information import fresh_lower_bounds
from infogan.networks import Networks
from infogan.options import Model, Training
from infogan.training import infogan, regular_gan, start, train

BLOCKS = yaml.safe_load(
    (Path(__file__).parents[2] / "conf" / "base" / "parameters_digits.yml").read_text()
)["digits"]
MODEL = Model.model_validate(BLOCKS["model"])
TRAINING = Training.model_validate({**BLOCKS["training"], "clustering": None})
DIGITS = np.round(load_digits().images[:, None] * 255 / 16).astype(np.uint8)


def trained(game: str, iterations: int) -> Networks:
    rules = {"infogan": infogan, "regular": regular_gan}[game](MODEL, TRAINING)
    state = start(MODEL, TRAINING, (1, 8, 8), torch.device("cpu"))
    rows = train(state, rules, DIGITS[:1500])
    for _ in range(iterations):
        next(rows)
    return state.networks


def told(networks: Networks) -> float:
    random = torch.Generator().manual_seed(0)
    return fresh_lower_bounds(networks, LatentSpace(MODEL), 2000, random)["c1"]


def test_a_category_can_be_read_from_what_g_makes_of_it() -> None:
    """Two seeds, on one thread and on two: 1.2 to 1.6 nats, in a regular GAN 0.2 to 0.7."""
    untaught, taught, regular = (
        told(trained(game, iterations))
        for game, iterations in (("infogan", 0), ("infogan", 200), ("regular", 200))
    )
    assert abs(untaught) < 0.01
    assert taught > 0.9
    assert taught > regular
