"""Where it is computed."""

import pytest
import torch

from infogan.devices import choose_device
from infogan.errors import UserError


@pytest.mark.parametrize(
    ("name", "gpu", "expected"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cuda", True, "cuda"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
    ],
)
def test_the_gpu_is_chosen_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, name: str, gpu: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert choose_device(name) == torch.device(expected)


def test_a_gpu_that_is_not_there_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device cuda, but torch finds no NVIDIA GPU here: write"):
        choose_device("cuda")
