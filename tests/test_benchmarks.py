"""What `make bench` runs: that it compares the same games, and finds and shows everything."""

import json
import re
from pathlib import Path
from typing import Any

import cases
import choices
import gpu
import machine
import numpy as np
import page
import pytest
import torch
import training
import yaml
from textbook import Pictures, Textbook
from torch.utils.flop_counter import FlopCounterMode

from infogan import tracking
from infogan.networks import to_pixels
from infogan.options import Model, Training, shapes
from infogan.pipeline_registry import DATASETS
from infogan.training import d_q_step, g_step, infogan, start

CPU = torch.device("cpu")


def small(dataset: str) -> Model:
    """The networks of the smoke environment, which have all layers, but fewer units."""
    base, smoke = (
        yaml.safe_load((machine.ROOT / "conf" / name / f"parameters_{dataset}.yml").read_text())
        for name in ("base", "smoke")
    )
    return Model.model_validate(base[dataset]["model"] | smoke[dataset]["model"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dataset", DATASETS)
def test_the_textbook_plays_the_same_game(dataset: str) -> None:
    """Same weights, images and latent variables: same losses, also after the first update."""
    model, options = small(dataset), cases.options(dataset, batch_size=4)[1]
    shape = shapes(model.generator, (model.latent_size,))[-1]
    images = cases.random_images(4, shape)
    state, game = start(model, options, shape, CPU), infogan(model, options)
    textbook = Textbook(model, options, shape, CPU)
    textbook.load(state.networks.state_dict())

    random = torch.Generator().set_state(state.random.get_state())
    pictures = Pictures(images, model.pixel_range)
    their_real = torch.stack([pictures[place][0] for place in range(4)])
    their_losses = [
        textbook.d_step(their_real, game.space.sample(4, random)),
        textbook.g_step(game.space.sample(4, random)),
    ]

    real = to_pixels(torch.from_numpy(images), model.pixel_range)
    torch.testing.assert_close(their_real.float(), real)
    our_losses = [d_q_step(state, game, their_real)[0].item(), g_step(state, game, 4).item()]
    assert their_losses == pytest.approx(our_losses, rel=1e-6)


def test_the_textbook_draws_latent_variables_of_the_same_kind() -> None:
    model, options, shape = cases.options("mnist")
    latent = Textbook(model, options, shape, CPU).sample(1000)
    assert latent.shape == (1000, model.latent_size)
    noise, category, continuous = latent.split([62, 10, 2], dim=1)
    assert set(category.flatten().tolist()) == {0.0, 1.0}
    assert (category.sum(dim=1) == 1).all()
    for unit in (noise, continuous):
        assert -1 <= unit.min() < -0.9
        assert 0.9 < unit.max() < 1


def test_the_textbook_goes_through_all_images_again_and_again() -> None:
    model, options, shape = cases.options("digits", batch_size=4)
    images = np.arange(8, dtype=np.uint8)[:, None, None, None].repeat(8, 2).repeat(8, 3)
    loader = Textbook(model, options, shape, CPU).loader(images)
    epochs = [torch.cat([next(loader), next(loader)])[:, 0, 0, 0] * 255 for _ in range(2)]
    for epoch in epochs:
        assert epoch.round().int().sort().values.tolist() == list(range(8))


def test_a_case_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = training.in_child(
        "alone", dataset="digits", loop="textbook", iterations=1, batch_size=8
    )
    assert found.keys() == {"first_ms", "ms", "images_per_second", "peak_mb"}
    assert all(value > 0 for value in found.values())


def test_a_failed_case_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.sys, "executable", "false")
    with pytest.raises(SystemExit, match="nothing"):
        training.in_child("nothing")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A whole run, of tiny networks and in this process: seconds instead of minutes."""
    options = cases.options

    def tiny(_: str, **changes: Any) -> tuple[Model, Training, tuple[int, ...]]:
        few = {"batch_size": 16, "evaluation_samples": 100}
        _, settings, shape = options("digits", **few | changes)
        return small("digits"), settings, shape

    def run(case: str, **arguments: Any) -> dict[str, Any]:
        if case == "arithmetic":
            arguments["compiled"] = False  # nobody wants to wait for a compiler
        return cases.run(case, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "options", tiny)
        patch.setattr(cases, "IMAGES", 200)
        patch.setattr(cases, "PRODUCT", 64)
        patch.setattr(cases, "DRAWN", 2)
        patch.setattr(choices, "ROUNDS", 1)
        patch.setattr(training, "BATCH_SIZES", (8, 16))
        patch.setattr(training, "LENGTHS", (300, 400))
        patch.setattr(training, "SEEDS", (2,))
        patch.setattr(training, "STARTS", 1)
        patch.setattr(training, "COMMANDS", ("registry list",))  # the other writes files
        patch.setattr(tracking, "open_run", lambda *_: tracking.Tracker())
        measured = training.measure(run, ["digits"], 1, tmp_path_factory.mktemp("bench"))
    return json.loads(json.dumps(measured))


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [number for each in inner for number in numbers(each)]
    return [value] if isinstance(value, float) else []


def test_a_run_finds_everything(found: dict[str, Any]) -> None:
    digits = found["loops"]["digits"]
    assert digits["ours"].keys() == digits["textbook"].keys()
    assert digits["ours"]["ms"] / digits["limit_ms"] == pytest.approx(digits["ratio_to_limit"])
    assert set(found["choices"]["without"]) == set(choices.CHOICES)
    assert list(found["arithmetic"]["ms"]) == list(choices.ARITHMETIC)
    assert list(found["growth"]["batch_size"]) == ["8", "16"]
    assert list(found["growth"]["images"]) == ["300", "400"]
    assert list(found["growth"]["seeds"]) == ["2"]
    assert list(found["start_up_seconds"]) == ["kedro registry list"]
    assert len(numbers(found)) > 50
    assert all(number >= 0 for number in numbers(found))


def test_the_arithmetic_is_that_of_the_networks() -> None:
    """A fully connected D and G, counted by hand: two operations a weight and image."""
    model, options, shape = cases.options("digits", batch_size=4)
    changes = {"generator": ["fc 8x8x1 sigmoid"], "trunk": ["fc 8"], "q_head": []}
    model = Model.model_validate(model.model_dump(mode="json") | changes)
    weights_g = model.latent_size * 64
    first, rest = 64 * 8, 8 * 1 + 8 * model.q_outputs
    # D/Q step: G forward; the trunk on both halves, forward and gradient of the weights; the D
    # head on both, the Q head on one, each also with the gradient of its input.
    d_step = weights_g + 2 * 2 * first + 3 * (2 * 8 + 8 * model.q_outputs)
    # G step: forward, gradients through D, and those of G's weights.
    g_step_ = 2 * weights_g + 2 * (first + rest)
    images = cases.random_images(4, shape)
    assert cases.operations(model, options, images, CPU) == 2 * 4 * (d_step + g_step_)


def test_the_products_done_alone_are_those_of_an_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cases, "ALONE", 1)
    model, options, shape = cases.options("digits")
    images = cases.random_images(options.batch_size, shape)
    with FlopCounterMode(display=False) as counter:
        assert cases.products("digits")["ms"] > 0
    assert counter.get_total_flops() == 2 * cases.operations(model, options, images, CPU)


def test_no_choice_changes_the_game(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are those of ours, however they are computed."""
    model, options, shape = cases.options("digits", batch_size=8)
    images = cases.random_images(32, shape)

    def losses() -> list[torch.Tensor]:
        steps = cases.ours(model, options, images, CPU)
        return [next(steps) for _ in range(2)]

    ours = losses()
    for patch in choices.PATCHES.values():
        with monkeypatch.context() as context:
            context.setattr(*patch)
            torch.testing.assert_close(losses(), ours, rtol=1e-3, atol=1e-4)


def test_bench_docs_writes_the_page(found: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    page.write(found, None, path)
    text = path.read_text()
    for table in page.TABLES:
        assert table(found) in text
    assert found["machine"]["cpu"] in text
    if found["nothing"]["device"] == "cpu":
        assert "What a GPU does is measured apart" in text
    assert "**too few to trust**" in text
    assert "## Ingestion" not in text


def test_what_a_gpu_did_is_shown_as_tables() -> None:
    loop = {"ms": 2.0, "fastest": 1.9, "slowest": 2.1}
    loops = dict.fromkeys(gpu.LOOPS, loop) | {"textbook": {**loop, "ms": 12.0}}
    found: dict[str, Any] = {
        "loops": {"mnist": {"batch_size": 128, "memory_mb": 840.4, "loops": loops}},
        "extended": dict.fromkeys(gpu.EXTENDED, loop),
        "kernels": {"tf32": {"kernels": 429.0, "busy_ms": 1.56, "top": []}},
        "seeds": {"tf32": {"1": 2.0, "4": 4.0}},
        "whole": {"tf32": {"seconds": 9.94, "iterations": 5000}},
        "compiled": {
            "loops": {"tf32": loop, "tf32, compiled": {**loop, "ms": 1.25}},
            "seconds": {"tf32": 31.2},
            "kernels": {"tf32": {"kernels": 250.0, "busy_ms": 1.1, "top": []}},
        },
    }
    lines = {tuple(re.findall(r"[^|\s]+", line)) for line in page.gpu_tables(found).splitlines()}
    plain = ("2.00", "2.00", "2.00", "2.00", "1.0", "12.00", "6.0", "64,000", "840")
    assert ("mnist", "128", *plain) in lines
    assert ("tf32", "429", "1.56") in lines
    assert ("tf32", "4", "4.00", "1.00", "2.00") in lines
    assert ("tf32", "5,000", "9.9") in lines
    assert ("tf32", "2.00", "1.25", "250", "31") in lines


def test_what_the_page_says_of_ingestion_stays_until_it_is_measured_again(
    found: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text("# Old\n\n## Ingestion\n\nOld numbers.\n")
    page.write(found, None, path)
    page.write(found, None, path)
    assert path.read_text().endswith("\n\n## Ingestion\n\nOld numbers.\n")
    assert "# Old\n" not in path.read_text()

    digits = {"images": 1797, "seconds": 2.0, "rate": 898.5, "peak_mb": 115.0}
    ingested = {"machine": machine.machine(), "datasets": {"digits": digits}}
    page.write(found, ingested, path)
    text = path.read_text()
    assert page.ingestion(ingested) in text
    assert "Old numbers" not in text
    assert text.count("## Ingestion") == 1


def test_the_page_says_where_the_textbook_was_faster(
    found: dict[str, Any], tmp_path: Path
) -> None:
    for speedup, words in ((2.0, "every one of these networks"), (0.9, "all but digits")):
        loop = found["loops"]["digits"] | {"speedup": speedup}
        page.write(found | {"loops": {"digits": loop}}, None, tmp_path / "page.md")
        assert words in (tmp_path / "page.md").read_text()
