"""A checkpoint is whole, or it is set aside."""

import errno
import itertools
import logging
import resource
import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from infogan import checkpoint

CPU = torch.device("cpu")


def content(value: float) -> dict[str, Any]:
    return {
        "networks": {"weight": torch.full((300, 100), value), "count": torch.tensor(3)},
        "random": torch.Generator().manual_seed(1).get_state(),
        "iteration": 12,
        "rows": [(1, 0.5, None)],
    }


def weight(found: dict[str, Any] | None) -> float:
    assert found is not None
    return float(found["networks"]["weight"][0, 0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "new", "game", 12, content(0.1))
    found = checkpoint.load(tmp_path / "new", "game", CPU)
    assert found is not None
    expected = content(0.1)
    for name, tensor in expected.pop("networks").items():
        assert torch.equal(found["networks"].pop(name), tensor)
    assert found.pop("networks") == {}
    assert torch.equal(found.pop("random"), expected.pop("random"))
    assert found == expected


def test_where_nothing_was_saved_there_is_nothing_to_load(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path, "game", CPU) is None
    assert checkpoint.load(tmp_path / "missing", "game", CPU) is None


def test_the_newest_is_loaded_and_the_last_two_are_kept(tmp_path: Path) -> None:
    for iteration in (5, 90, 100, 1000):
        checkpoint.save(tmp_path, "game", iteration, content(iteration))
    assert weight(checkpoint.load(tmp_path, "game", CPU)) == 1000
    assert names(tmp_path) == ["game.000000100.pt", "game.000001000.pt"]


def test_trainings_of_other_names_do_not_meet(tmp_path: Path) -> None:
    for name, value in (("game.1", 0.1), ("game.10", 0.2), ("other.1", 0.3)):
        checkpoint.save(tmp_path, name, 7, content(value))
    assert weight(checkpoint.load(tmp_path, "game.1", CPU)) == pytest.approx(0.1)
    assert weight(checkpoint.load(tmp_path, "game.10", CPU)) == pytest.approx(0.2)


def test_a_failed_save_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "game", 1, content(0.1))
    with pytest.raises(Exception, match="local object"):
        checkpoint.save(tmp_path, "game", 2, {"iteration": lambda: 0})
    assert names(tmp_path) == ["game.000000001.pt"]
    assert weight(checkpoint.load(tmp_path, "game", CPU)) == pytest.approx(0.1)


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "another file":
        path.write_text("hello")
    elif how == "a foreign checkpoint":
        torch.save({"path": Path("somewhere")}, path)
    elif how == "a flipped bit":
        path.write_bytes(whole[:-60000] + bytes([whole[-60000] ^ 4]) + whole[-59999:])
    else:
        path.write_bytes(whole[: int(float(how) * len(whole))])


@pytest.mark.parametrize(
    "how",
    ["0.0", "0.01", "0.9", "0.999", "a flipped bit", "another file", "a foreign checkpoint"],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    for iteration in (1, 2):
        checkpoint.save(tmp_path, "game", iteration, content(iteration))
    path = tmp_path / "game.000000002.pt"
    damage(path, how)
    damaged = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert weight(checkpoint.load(tmp_path, "game", CPU)) == 1
    assert f"{path} is damaged and is not used" in caplog.text
    assert names(tmp_path) == ["game.000000001.pt", "game.000000002.pt.damaged"]
    assert (tmp_path / "game.000000002.pt.damaged").read_bytes() == damaged
    caplog.clear()
    assert weight(checkpoint.load(tmp_path, "game", CPU)) == 1
    assert not caplog.text


def test_a_checkpoint_runs_no_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint.save(tmp_path, "game", 1, content(0.1))
    checkpoint.save(tmp_path, "game", 2, {"path": Path("somewhere")})  # needs a class to be built
    assert weight(checkpoint.load(tmp_path, "game", CPU)) == pytest.approx(0.1)
    assert "game.000000002.pt is of another training and is not used" in caplog.text


def test_a_checkpoint_of_another_name_or_folder_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path / "a", "game.0", 1, content(0.1))
    checkpoint.save(tmp_path / "b", "game.0", 2, content(0.2))
    checkpoint.save(tmp_path / "a", "game.1", 3, content(0.3))
    foreign = ["game.0.000000002.pt", "game.0.000000003.pt"]
    (tmp_path / "b" / foreign[0]).rename(tmp_path / "a" / foreign[0])
    (tmp_path / "a" / "game.1.000000003.pt").rename(tmp_path / "a" / foreign[1])
    assert weight(checkpoint.load(tmp_path / "a", "game.0", CPU)) == pytest.approx(0.1)
    assert names(tmp_path / "a") == [
        "game.0.000000001.pt",
        *(f"{name}{checkpoint.FOREIGN}" for name in foreign),
    ]
    assert caplog.text.count("is of another training and is not used") == 2


def test_what_a_killed_process_left_half_written_is_gone_after_the_next_save(
    tmp_path: Path,
) -> None:
    for left in (".game.1.000000007.tmp.pt", ".game.10.000000007.tmp.pt"):
        (tmp_path / left).write_bytes(b"half")
    checkpoint.save(tmp_path, "game.1", 8, content(0.1))
    assert names(tmp_path) == [".game.10.000000007.tmp.pt", "game.1.000000008.pt"]


def test_the_newest_up_to_an_iteration_is_loaded_and_later_ones_are_kept(tmp_path: Path) -> None:
    for iteration in (90, 100):
        checkpoint.save(tmp_path, "game", iteration, content(iteration))
    assert checkpoint.load(tmp_path, "game", CPU, up_to=89) is None
    for iteration in (10, 20, 30):
        checkpoint.save(tmp_path, "game", iteration, content(iteration))
    assert weight(checkpoint.load(tmp_path, "game", CPU, up_to=89)) == 30
    assert weight(checkpoint.load(tmp_path, "game", CPU, up_to=90)) == 90
    kept = [f"game.{iteration:09d}.pt" for iteration in (20, 30, 90, 100)]
    assert names(tmp_path) == kept


def test_what_is_begun_anew_replaces_all_others(tmp_path: Path) -> None:
    for iteration in (90, 100):
        checkpoint.save(tmp_path, "game", iteration, content(iteration))
    checkpoint.save(tmp_path, "game", 10, content(10), anew=True)
    assert names(tmp_path) == ["game.000000010.pt"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What is written beyond so many bytes is an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1000, 60_000, 120_000])
def test_where_there_is_no_room_that_is_what_is_said_and_the_last_one_is_left(
    tmp_path: Path, room: int
) -> None:
    checkpoint.save(tmp_path, "game", 1, content(0.1))
    words = r"File too large: .*game\.000000002\.pt"
    with pytest.raises(OSError, match=words) as caught, files_of_at_most(room):
        checkpoint.save(tmp_path, "game", 2, content(0.2))
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == ["game.000000001.pt"]
    assert weight(checkpoint.load(tmp_path, "game", CPU)) == pytest.approx(0.1)


@pytest.mark.parametrize("written", range(12))
def test_an_interrupt_while_saving_is_one_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    checkpoint.save(tmp_path, "game", 1, content(0.1))
    parts = itertools.count()
    write = checkpoint._Hashed.write

    def interrupted(self: Any, data: Any) -> int:
        if next(parts) == written:
            raise KeyboardInterrupt
        return write(self, data)

    monkeypatch.setattr(checkpoint._Hashed, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, "game", 2, content(0.2))
    assert names(tmp_path) == ["game.000000001.pt"]


def test_what_torch_cannot_save_is_said_also_while_something_else_is_handled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise RuntimeError("CUDA error: unspecified launch failure")  # noqa: B904 - as torch

    monkeypatch.setattr(torch.serialization, "_save", failing)
    try:
        raise StopIteration  # as a training that stops, and saves then
    except StopIteration:
        with pytest.raises(RuntimeError, match="CUDA error"):
            checkpoint.save(tmp_path, "game", 1, content(0.1))
    assert not names(tmp_path)


def test_a_checkpoint_of_this_process_is_written_again_without_a_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, "game", 0, content(0.1))
    with monkeypatch.context() as patch:
        patch.delattr(checkpoint, "_read")
        checkpoint.save(tmp_path, "game", 0, content(0.2))
    assert weight(checkpoint.load(tmp_path, "game", CPU)) == pytest.approx(0.2)


def test_a_checkpoint_that_was_loaded_is_written_again_without_another_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a training stops before it has done another iteration."""
    checkpoint.save(tmp_path, "game", 0, content(0.1))
    monkeypatch.setattr(checkpoint, "_known", {})  # as in another process
    checkpoint.load(tmp_path, "game", CPU)
    with monkeypatch.context() as patch:
        patch.delattr(checkpoint, "_read")
        checkpoint.save(tmp_path, "game", 0, content(0.2))
    assert weight(checkpoint.load(tmp_path, "game", CPU)) == pytest.approx(0.2)
    (tmp_path / "game.000000000.pt").write_bytes(b"since then")
    checkpoint.save(tmp_path, "game", 0, content(0.3))
    assert names(tmp_path) == ["game.000000000.pt", "game.000000000.pt.damaged"]


def test_to_save_takes_no_second_copy_in_memory(tmp_path: Path) -> None:
    large = {"weight": torch.zeros(1_000_000)}
    checkpoint.save(tmp_path, "game", 1, large)  # with all that is imported by it
    tracemalloc.start()
    checkpoint.save(tmp_path, "game", 2, large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # of four million bytes


def test_a_damaged_checkpoint_is_never_deleted(tmp_path: Path) -> None:
    for iteration in (10, 20):
        checkpoint.save(tmp_path, "game", iteration, content(iteration))
    (tmp_path / "game.000000010.pt").write_bytes(b"once")
    checkpoint.save(tmp_path, "game", 30, content(30))  # which has the place of iteration 10
    checkpoint.save(tmp_path, "game", 10, content(10))
    (tmp_path / "game.000000010.pt").write_bytes(b"twice")
    checkpoint.save(tmp_path, "game", 40, content(40), anew=True)
    assert names(tmp_path) == [
        "game.000000010.pt.damaged",
        "game.000000010.pt.damaged1",
        "game.000000040.pt",
    ]
    assert (tmp_path / "game.000000010.pt.damaged").read_bytes() == b"once"
    (tmp_path / "game.000000040.pt").write_bytes(b"before it is written again")
    checkpoint.save(tmp_path, "game", 40, content(40))
    (tmp_path / "game.000000040.pt").write_bytes(b"at the end")
    checkpoint.discard(tmp_path, "game", 40)
    assert names(tmp_path)[2:] == ["game.000000040.pt.damaged", "game.000000040.pt.damaged1"]


def test_somebodys_copy_is_neither_used_nor_removed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "game.0", 10, content(10))
    copies = ["game.0.000000030.backup.pt", "game.0.backup.000000030.pt", "game.0.30.pt"]
    for name in copies:
        shutil.copy(tmp_path / "game.0.000000010.pt", tmp_path / name)
    assert checkpoint.reached(tmp_path, "game.0") == [10]
    for iteration in (20, 30, 40):
        checkpoint.save(tmp_path, "game.0", iteration, content(iteration))
    assert checkpoint.reached(tmp_path, "game.0") == [40, 30]
    checkpoint.discard(tmp_path, "game.0", 30)
    assert names(tmp_path) == sorted([*copies, "game.0.000000040.pt"])


def test_a_checkpoint_that_holds_other_things_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, "game", 1, content(0.1))
    monkeypatch.setattr(checkpoint, "_FORMAT", 1000)  # as a later version has it
    assert checkpoint.load(tmp_path, "game", CPU) is None
    assert "is of another version of this program and is not used" in caplog.text
    assert names(tmp_path) == [f"game.000000001.pt{checkpoint.FOREIGN}"]
