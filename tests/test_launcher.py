"""What is said when processes cannot meet, or do not come back; the rest is in integration."""

import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from infogan.errors import UserError
from infogan.launcher import NODE_RANK, RENDEZVOUS, _Lost, _meeting_point, _reason, node_rank
from infogan.options import Training

LOST = _Lost("gone")
MISTAKE = "Traceback: ZeroDivisionError"


@pytest.mark.parametrize(
    ("left", "kind", "words"),
    [
        ({0: LOST, 1: UserError("diverged")}, UserError, "^diverged$"),
        ({0: OSError(28, "No space left on device"), 1: LOST}, OSError, "No space left"),
        ({0: KeyboardInterrupt(), 1: LOST}, KeyboardInterrupt, "^$"),
        ({0: LOST, 1: MISTAKE}, RuntimeError, "ZeroDivisionError"),
        ({0: LOST}, UserError, r"^Process 1 of 2 on this machine was killed \(SIGKILL\)"),
        ({}, UserError, r"^Process 1 of 2 on this machine was killed \(SIGKILL\)"),
        ({1: LOST}, UserError, r"^Process 0 of 2 on this machine was killed, perhaps"),
        ({0: LOST, 1: LOST}, UserError, "^gone$"),
    ],
)
def test_the_first_cause_is_told_and_not_what_it_led_to(
    tmp_path: Path,
    make_training: Callable[..., Training],
    left: dict[int, BaseException | str],
    kind: type[BaseException],
    words: str,
) -> None:
    for rank, told in left.items():
        (tmp_path / f"{rank}.error").write_bytes(pickle.dumps(told))
    failure = SimpleNamespace(local_rank=1, signal_name=lambda: signal.Signals(9).name)
    error = SimpleNamespace(get_first_failure=lambda: (1, failure))
    with pytest.raises(kind, match=words):
        raise _reason(tmp_path, error, make_training(devices=2))


@pytest.mark.parametrize(
    ("rank", "rendezvous", "words"),
    [
        ("0", None, rf"training\.nodes is 2, but {RENDEZVOUS} is '': it must be host:port"),
        ("1", "first", rf"{RENDEZVOUS} is 'first': it must be host:port"),
        ("2", "first:29400", rf"{NODE_RANK} is 2, but training\.nodes is 2: count from 0"),
        ("one", "first:29400", rf"{NODE_RANK} is 'one', but must be a number"),
    ],
)
def test_machines_that_cannot_meet_are_told_why(
    monkeypatch: pytest.MonkeyPatch, rank: str, rendezvous: str | None, words: str
) -> None:
    monkeypatch.setenv(NODE_RANK, rank)
    monkeypatch.delenv(RENDEZVOUS, raising=False)
    if rendezvous:
        monkeypatch.setenv(RENDEZVOUS, rendezvous)
    with pytest.raises(UserError, match=words):
        _meeting_point(2)


def test_one_machine_is_the_first() -> None:
    assert node_rank() == 0
