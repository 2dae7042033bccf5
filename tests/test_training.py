"""The game: who is updated, by what, with which numbers, and that it can be continued."""

import copy
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from infogan import checkpoint
from infogan.batches import IN_MEMORY, Share, batches, resident
from infogan.consistency import copied, inconsistency
from infogan.devices import choose_device, configure
from infogan.networks import to_pixels
from infogan.options import Model, Training
from infogan.seeds import DIAGNOSIS, HELD_OUT, derive_seed
from infogan.training import (
    Game,
    Recorded,
    State,
    d_q_step,
    g_step,
    infogan,
    information,
    one_iteration,
    regular_gan,
    seen,
    start,
    train,
)

CPU = torch.device("cpu")
GAMES = [infogan, regular_gan]
MakeGame = Callable[[Model, Training], Game]


@pytest.fixture
def real() -> Tensor:
    return torch.rand(8, 1, 8, 8)


@pytest.fixture
def game(model: Model, training: Training) -> Game:
    return infogan(model, training)


def begin(model: Model, training: Training) -> State:
    return start(model, training, (1, 8, 8), CPU)


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    found = {}
    for name, value in module.named_parameters():
        assert value.grad is not None, f"{name} has no gradient"
        found[name] = value.grad.clone()
    return found


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    """Names under which both hold equal tensors."""
    assert first.keys() == second.keys()
    return {name for name in first if torch.equal(first[name], second[name])}


def run(state: State, game: Game, images: np.ndarray, count: int) -> list[list[float]]:
    steps = itertools.islice(train(state, game, resident(images, CPU)), count)
    return [row.tolist() for row in steps]


def latents(state: State, action: Callable[[], object]) -> list[Tensor]:
    """What the generator is given while the action runs."""
    seen: list[Tensor] = []
    with state.networks.generator.register_forward_pre_hook(
        lambda _, given: seen.append(given[0])
    ):
        action()
    return seen


# --- Who is updated ------------------------------------------------------------------------------


@pytest.mark.parametrize("make_game", GAMES)
def test_the_d_q_step_updates_trunk_and_both_heads_and_leaves_g(
    model: Model, training: Training, real: Tensor, make_game: MakeGame
) -> None:
    state = begin(model, training)
    d_before = parameters(state.networks.discriminator)
    g_before = parameters(state.networks.generator)
    d_q_step(state, make_game(model, training), real)
    assert not same(parameters(state.networks.discriminator), d_before)
    assert same(parameters(state.networks.generator), g_before) == set(g_before)
    assert all(p.grad is None for p in state.networks.generator.parameters())


@pytest.mark.parametrize("make_game", GAMES)
def test_the_g_step_updates_g_and_leaves_trunk_and_heads(
    model: Model, training: Training, make_game: MakeGame
) -> None:
    state = begin(model, training)
    d_before = parameters(state.networks.discriminator)
    g_before = parameters(state.networks.generator)
    g_step(state, make_game(model, training), 8)
    assert not same(parameters(state.networks.generator), g_before)
    assert same(parameters(state.networks.discriminator), d_before) == set(d_before)
    assert all(p.grad is None for p in state.networks.discriminator.parameters())
    assert all(p.requires_grad for p in state.networks.parameters())


def test_each_step_has_a_learning_rate_of_its_own(
    model: Model, make_training: Callable[..., Training], real: Tensor
) -> None:
    training = make_training(lr_d=3e-4, lr_g=5e-3)
    state = begin(model, training)
    d_before = parameters(state.networks.discriminator)
    d_q_step(state, infogan(model, training), real)
    g_before = parameters(state.networks.generator)
    g_step(state, infogan(model, training), 8)
    # Adam's first step is the learning rate wherever the gradient is not tiny.
    for module, before, rate in (
        (state.networks.discriminator, d_before, 3e-4),
        (state.networks.generator, g_before, 5e-3),
    ):
        steps = [(value - before[name]).abs() for name, value in parameters(module).items()]
        largest = max(step.max().item() for step in steps)
        assert largest == pytest.approx(rate, rel=1e-2)


def test_the_betas_are_those_of_the_options(
    model: Model, make_training: Callable[..., Training]
) -> None:
    state = begin(model, make_training(betas=[0.3, 0.9]))
    for optimizer in (state.optimizer_d, state.optimizer_g):
        assert [group["betas"] for group in optimizer.param_groups] == [(0.3, 0.9)]


# --- Whom the information reaches ----------------------------------------------------------------


def test_real_images_do_not_influence_the_information_gradient(
    model: Model, game: Game, training: Training
) -> None:
    found = []
    for seed in (1, 2):
        state = begin(model, training)
        real = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        d_q_step(state, game, real)
        found.append(gradients(state.networks.discriminator))
    q_head = {name for name in found[0] if name.startswith("q_head")}
    # Before batch norm a bias has no gradient but rounding, which may be equal.
    assert same(*found) - {"trunk.2.bias"} == q_head


def d_gradients(
    make_game: MakeGame, model: Model, training: Training, real: Tensor
) -> dict[str, Tensor]:
    """Gradients of the first D/Q step."""
    state = begin(model, training)
    d_q_step(state, make_game(model, training), real)
    return gradients(state.networks.discriminator)


@pytest.mark.parametrize(
    ("make_game", "changes", "reached"),
    [
        (infogan, {}, True),
        (infogan, {"mi_trains_trunk": False}, False),
        (regular_gan, {"baseline": "joint"}, True),
        (regular_gan, {"baseline": "head"}, False),
        # Neither option speaks about the other game.
        (infogan, {"baseline": "head"}, True),
        (regular_gan, {"mi_trains_trunk": False}, True),
    ],
)
def test_the_information_reaches_the_trunk_only_where_the_options_say_so(
    model: Model,
    make_training: Callable[..., Training],
    real: Tensor,
    make_game: MakeGame,
    changes: dict[str, Any],
    reached: bool,
) -> None:
    none = {"lambda_categorical": 0.0, "lambda_continuous": 0.0}
    told = d_gradients(make_game, model, make_training(**changes), real)
    untold = d_gradients(make_game, model, make_training(**changes, **none), real)
    trunk = {name for name in told if name.startswith("trunk")}
    d_head = {name for name in told if name.startswith("d_head")}
    expected = d_head if reached else d_head | trunk
    assert same(told, untold) == expected


def test_the_regular_gans_generator_hears_nothing_of_the_codes(
    model: Model, make_training: Callable[..., Training]
) -> None:
    found = []
    for weight in (0.0, 1.0, 100.0):
        training = make_training(lambda_categorical=weight, lambda_continuous=weight)
        state = begin(model, training)
        g_step(state, regular_gan(model, training), 8)
        found.append(gradients(state.networks.generator))
    assert same(found[0], found[1]) == set(found[0])
    assert same(found[0], found[2]) == set(found[0])


def test_infogans_generator_is_told_about_the_codes(
    model: Model, make_training: Callable[..., Training]
) -> None:
    found = []
    for weight in (0.0, 1.0):
        training = make_training(lambda_categorical=weight, lambda_continuous=weight)
        state = begin(model, training)
        g_step(state, infogan(model, training), 8)
        found.append(gradients(state.networks.generator))
    assert not same(*found)


def test_each_kind_of_code_has_its_lambda(
    model: Model, make_training: Callable[..., Training]
) -> None:
    game = infogan(model, make_training(lambda_categorical=2.0, lambda_continuous=0.5))
    assert game.weights == {"c1": 2.0, "c2": 0.5, "c3": 0.5}
    bounds = {"c1": torch.tensor(1.0), "c2": torch.tensor(10.0), "c3": torch.tensor(100.0)}
    clock = torch.tensor(0.0)
    assert information(game, bounds, clock).item() == 2 * 1 + 0.5 * 10 + 0.5 * 100


# --- The numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make_game", GAMES)
def test_the_losses_are_those_of_the_paper(
    model: Model, training: Training, real: Tensor, float64: None, make_game: MakeGame
) -> None:
    """Against a transcription: log of sigmoid, Gaussian and softmax written out."""
    state, game = begin(model, training), make_game(model, training)
    real = real.double()

    def transcribed(networks: nn.Module, latent: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        fake_logit, q = networks.discriminator(networks.generator(latent))
        c1, c2, c3 = latent[:, 4:7], latent[:, 7:8], latent[:, 8:10]
        log_q1 = (c1 * torch.log(torch.softmax(q[:, :3], dim=1))).sum(dim=1)
        log_q2 = gaussian(c2, q[:, 3:4], q[:, 4:5])
        log_q3 = gaussian(c3, q[:, 5:7], q[:, 7:9])
        entropies = np.log(3), np.log(2), 2 * np.log(4)
        means = [log_q.mean() for log_q in (log_q1, log_q2, log_q3)]
        bounds = [mean + entropy for mean, entropy in zip(means, entropies, strict=True)]
        return fake_logit, 1.0 * bounds[0] + 0.1 * bounds[1] + 0.1 * bounds[2], bounds

    def gaussian(c: Tensor, mean: Tensor, raw: Tensor) -> Tensor:
        sigma = raw.exp()
        density = torch.exp(-(((c - mean) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
        return density.log().sum(dim=1)

    before = copy.deepcopy(state.networks)
    found: list[Tensor] = []
    (latent,) = latents(state, lambda: found.extend(d_q_step(state, game, real)))
    real_logit, _ = before.discriminator(real)
    fake_logit, weighted, bounds = transcribed(before, latent)
    loss_d = -(logsigmoid(real_logit) + torch.log(1 - torch.sigmoid(fake_logit))).mean()
    expected = [
        loss_d - weighted,
        torch.sigmoid(real_logit).mean(),
        torch.sigmoid(fake_logit).mean(),
        *bounds,
    ]
    torch.testing.assert_close(found, expected)

    before = copy.deepcopy(state.networks)
    (latent,) = latents(state, lambda: found.append(g_step(state, game, 8)))
    fake_logit, weighted, _ = transcribed(before, latent)
    loss_g = -torch.log(torch.sigmoid(fake_logit)).mean()
    told = weighted if make_game is infogan else 0.0
    torch.testing.assert_close(found[-1], loss_g - told)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_a_certain_discriminator_has_finite_losses(
    model: Model, training: Training, game: Game, real: Tensor, logit: float
) -> None:
    state = begin(model, training)
    last = state.networks.discriminator.d_head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.bias, logit)
    loss_d, *_ = d_q_step(state, game, real)
    assert loss_d.item() == pytest.approx(200, abs=5)
    assert g_step(state, game, 8).isfinite()


def test_a_row_has_a_number_for_every_column(
    model: Model, training: Training, game: Game, images: np.ndarray
) -> None:
    (row,) = run(begin(model, training), game, images, 1)
    bounds = ["lower_bound.c1", "lower_bound.c2", "lower_bound.c3"]
    assert game.columns == ["loss_d", "loss_g", "d_real", "d_fake", *bounds]
    assert len(row) == len(game.columns)
    numbers = dict(zip(game.columns, row, strict=True))
    assert 0 < numbers["d_real"] < 1
    assert 0 < numbers["d_fake"] < 1
    assert numbers["lower_bound.c1"] <= np.log(3)


def test_rows_keep_no_graph_alive(
    model: Model, training: Training, game: Game, images: np.ndarray
) -> None:
    row = next(train(begin(model, training), game, resident(images, CPU)))
    assert not row.requires_grad


# --- Latent variables ----------------------------------------------------------------------------


@pytest.mark.parametrize("make_game", GAMES)
def test_every_step_draws_fresh_latent_variables(
    model: Model, training: Training, images: np.ndarray, make_game: MakeGame
) -> None:
    state = begin(model, training)
    random = state.random.get_state()
    seen = latents(state, lambda: run(state, make_game(model, training), images, 4))
    assert [len(latent) for latent in seen] == [8] * 8
    assert len(torch.unique(torch.cat(seen), dim=0)) == 64
    assert not torch.equal(state.random.get_state(), random)


def test_training_leaves_the_global_random_state_alone(
    model: Model, training: Training, game: Game, images: np.ndarray
) -> None:
    state = begin(model, training)
    before = torch.get_rng_state()
    run(state, game, images, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_both_games_draw_the_same_latent_variables(
    model: Model, training: Training, images: np.ndarray
) -> None:
    seen = []
    for make_game in GAMES:
        state = begin(model, training)
        run(state, make_game(model, training), images, 3)
        seen.append(state.random.get_state())
    assert torch.equal(*seen)


# --- Seeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_game", GAMES)
def test_the_same_seed_gives_the_same_rows(
    model: Model, training: Training, images: np.ndarray, make_game: MakeGame
) -> None:
    game = make_game(model, training)
    first = run(begin(model, training), game, images, 20)
    torch.manual_seed(9)
    assert run(begin(model, training), game, images, 20) == first
    assert np.isfinite(first).all()


def test_another_seed_gives_other_rows(
    model: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    rows = []
    for seed in (0, 1):
        training = make_training(seeds=[seed])
        rows.append(run(begin(model, training), infogan(model, training), images, 1))
    assert rows[0] != rows[1]


def test_every_purpose_has_a_seed_of_its_own() -> None:
    # As used: weights, latent variables and fresh codes by purpose, the order also by epoch.
    purposes = [(0,), (1,), (2,), (HELD_OUT,), (DIAGNOSIS,), *((2, e) for e in range(50))]
    seeds = {derive_seed(seed, *purpose) for seed in range(20) for purpose in purposes}
    assert len(seeds) == 20 * len(purposes)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(5, HELD_OUT) == derive_seed(5, HELD_OUT)


# --- Batches -------------------------------------------------------------------------------------


def numbered(count: int) -> Tensor:
    """Images that are their own numbers."""
    return torch.arange(count)[:, None, None, None]


def order(count: int, batch_size: int, seed: int, iteration: int, batch_count: int) -> list[Any]:
    supply = batches(numbered(count), batch_size, seed, iteration, CPU)
    found = itertools.islice(supply, batch_count)
    return [batch.flatten().tolist() for batch in found]


@pytest.mark.parametrize(("count", "batch_size"), [(28, 8), (24, 8), (8, 8), (9, 2)])
def test_an_epoch_is_as_many_whole_batches_as_there_are_and_no_image_twice(
    count: int, batch_size: int
) -> None:
    each = count // batch_size
    found = order(count, batch_size, seed=0, iteration=0, batch_count=4 * each)
    assert {len(batch) for batch in found} == {batch_size}
    epochs = [list(itertools.chain(*found[i : i + each])) for i in range(0, 4 * each, each)]
    for epoch in epochs:
        assert len(set(epoch)) == each * batch_size
        assert set(epoch) <= set(range(count))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_what_an_epoch_leaves_over_is_not_always_the_same() -> None:
    found = order(28, 8, seed=0, iteration=0, batch_count=3 * 20)
    used = [set(itertools.chain(*found[i : i + 3])) for i in range(0, 60, 3)]
    assert len({frozenset(epoch) for epoch in used}) > 1


def test_another_seed_gives_another_order() -> None:
    assert order(28, 8, 0, 0, 3) != order(28, 8, 1, 0, 3)


@pytest.mark.parametrize("iteration", [1, 2, 3, 4, 7, 9])
def test_batches_go_on_where_they_were_left(iteration: int) -> None:
    whole = order(28, 8, seed=0, iteration=0, batch_count=12)
    rest = order(28, 8, seed=0, iteration=iteration, batch_count=12 - iteration)
    assert rest == whole[iteration:]


def test_the_shares_of_all_processes_are_the_batch(images: np.ndarray) -> None:
    for some in (torch.from_numpy(images), images):
        whole = itertools.islice(batches(some, 8, 0, 0, CPU), 5)
        shares = [batches(some, 8, 0, 0, CPU, Share(rank, 4)) for rank in range(4)]
        for batch in whole:
            assert torch.equal(torch.cat([next(share) for share in shares]), batch)


def test_all_processes_draw_the_latent_variables_of_one(
    model: Model, training: Training, game: Game
) -> None:
    whole = game.latent(8, torch.Generator().manual_seed(3))
    shares = [infogan(model, training, Share(rank, 4)) for rank in range(4)]
    parts = [share.latent(2, torch.Generator().manual_seed(3)) for share in shares]
    assert torch.equal(torch.cat(parts), whole)


def test_training_sees_the_batches_in_the_models_range(
    model: Model, training: Training, game: Game, images: np.ndarray
) -> None:
    state = begin(model, training)
    seen: list[Tensor] = []
    first_layer = state.networks.discriminator.trunk[0]
    with first_layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone())):
        run(state, game, images, 4)
    expected = itertools.islice(batches(torch.from_numpy(images), 8, training.seed, 0, CPU), 4)
    for given, batch in zip(seen[::2], expected, strict=True):  # real and generated, generated
        assert torch.equal(given[:8], to_pixels(batch, model.pixel_range))


@pytest.mark.parametrize("chunk", [1, 5, 28, 100])
def test_resident_images_are_a_copy_of_a_read_only_array(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("infogan.batches._CHUNK", chunk)
    images.setflags(write=False)
    tensor = resident(images, CPU)
    assert isinstance(tensor, Tensor)
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.numpy(), images)
    tensor.zero_()
    assert images.any()


@pytest.fixture
def mapped(tmp_path: Path, images: np.ndarray) -> np.ndarray:
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def test_a_large_data_set_stays_on_disk(
    mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mapped.nbytes < IN_MEMORY
    monkeypatch.setattr("infogan.batches.IN_MEMORY", mapped.nbytes)
    assert isinstance(resident(mapped, CPU), Tensor)
    monkeypatch.setattr("infogan.batches.IN_MEMORY", mapped.nbytes - 1)
    assert resident(mapped, CPU) is mapped


def test_training_from_disk_is_training_from_memory(
    model: Model, training: Training, game: Game, images: np.ndarray, mapped: np.ndarray
) -> None:
    in_memory = run(begin(model, training), game, images, 9)
    for on_disk in (mapped, images):  # any array will do, one in a file is read from there
        steps = itertools.islice(train(begin(model, training), game, on_disk), 9)
        assert [row.tolist() for row in steps] == in_memory


def test_reading_from_disk_maps_nothing(mapped: np.ndarray, images: np.ndarray) -> None:
    class Guarded(np.memmap):
        def __getitem__(self, key: Any) -> Any:
            assert key == 0, "read through the mapping"
            return super().__getitem__(key)

    guarded = mapped.view(Guarded)
    order = next(batches(torch.from_numpy(images), 8, 0, 0, CPU))
    assert torch.equal(next(batches(guarded, 8, 0, 0, CPU)), order)


def test_a_file_of_images_that_was_cut_short_is_no_image(
    mapped: np.ndarray, images: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "images.npy"
    os.truncate(path, path.stat().st_size - images[0].nbytes // 2)
    with pytest.raises(OSError, match=r"cut short: .*images\.npy"):
        next(batches(mapped, len(images), 0, 0, CPU))


def test_a_named_device_is_chosen() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


# --- Extensions of the paper ---------------------------------------------------------------------

CONSISTENCY: dict[str, Any] = {
    "codes": ["c1"],
    "weight": 1.0,
    "balance": 2.0,
    "rotation": 0.2,
    "scale": 0.1,
    "shear": 0.1,
    "shift": 0.1,
}
# Everything at once, and all of it changing within the iterations that the tests make.
EXTENDED: dict[str, Any] = {
    "consistency": {
        **CONSISTENCY,
        "weight": "0 to 1 until 6",
        "scale": "0.3 to 0.1 from 2 until 8",
        "generated": 0.5,
    },
    "instance_noise": "0.1 to 0 until 7",
    "lr_d": "2e-3 to 1e-3 until 8",
    "lr_g": "1e-2 to 1e-3 from 3 until 12",
    "lambda_categorical": "0 to 1 until 5",
    "lambda_continuous": "0.1 to 0 until 9",
    "steps_g": 2,
    "average_g": 0.9,
    "joint_batch_norm": True,
}


@pytest.fixture
def normed(make_model: Callable[..., Model]) -> Model:
    """With spectral norm in every network."""
    return make_model(
        generator=["fc 2x2x8 sn bn relu", "upconv 6 s2 sn bn relu", "upconv 1 s2 sigmoid"],
        trunk=["conv 6 s2 sn lrelu", "conv 8 s2 sn bn lrelu"],
        q_head=["fc 8 sn lrelu"],
    )


def at_iteration(model: Model, training: Training, iteration: int) -> State:
    """A new state whose clock stands elsewhere."""
    state = begin(model, training)
    state.clock.fill_(iteration)
    return state


@pytest.mark.parametrize("changes", [{}, {"generated": 0.5}], ids=str)
def test_consistency_reaches_trunk_and_q_but_neither_d_nor_g(
    model: Model, make_training: Callable[..., Training], real: Tensor, changes: dict[str, Any]
) -> None:
    told = make_training(consistency={**CONSISTENCY, **changes})
    untold = make_training(consistency={**CONSISTENCY, "weight": 0.0})
    first = d_gradients(infogan, model, told, real)
    second = d_gradients(infogan, model, untold, real)
    assert same(first, second) == {name for name in first if name.startswith("d_head")}
    found = []
    for training in (told, untold, make_training()):
        state = begin(model, training)
        g_step(state, infogan(model, training), 8)
        found.append(gradients(state.networks.generator))
    assert same(found[0], found[1]) == same(found[0], found[2]) == set(found[0])


def test_consistency_adds_a_column_and_its_weight_and_leaves_the_other_numbers(
    model: Model, make_training: Callable[..., Training], real: Tensor, float64: None
) -> None:
    plain, training = make_training(), make_training(consistency={**CONSISTENCY, "weight": 0.7})
    assert infogan(model, training).columns == [*infogan(model, plain).columns, "inconsistency"]
    expected = d_q_step(begin(model, plain), infogan(model, plain), real.double())
    found = d_q_step(begin(model, training), infogan(model, training), real.double())
    torch.testing.assert_close(found[1:-1], expected[1:])
    torch.testing.assert_close(found[0], expected[0] + 0.7 * found[-1])


def test_the_regular_gan_knows_no_consistency(
    model: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    plain, training = make_training(), make_training(consistency=CONSISTENCY)
    game = regular_gan(model, training)
    assert game.columns == regular_gan(model, plain).columns
    expected = run(begin(model, plain), regular_gan(model, plain), images, 3)
    assert run(begin(model, training), game, images, 3) == expected


def read_beside_copies(state: State, game: Game, real: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Codes of the images that G makes next, and what Q emits for real and made ones and for
    deformed copies of both, each batch with batch-norm statistics of its own.
    """
    options = game.training.consistency
    assert options is not None
    networks, random = copy.deepcopy(state.networks), torch.Generator()
    random.set_state(state.random.get_state())
    latent = game.latent(len(real), random)
    fake = networks.generator(latent)
    deformed = [
        copied(each, options, state.clock, game.pixel_range, random) for each in (real, fake)
    ]
    return latent, [networks.discriminator(each)[1] for each in (real, fake, *deformed)]


@pytest.mark.parametrize(("generated", "noise"), [(0.0, 0.0), (0.5, 0.0), (0.5, 0.3)])
def test_consistency_is_that_of_deformed_copies(
    model: Model,
    make_training: Callable[..., Training],
    real: Tensor,
    float64: None,
    generated: float,
    noise: float,
) -> None:
    """The first category is columns 0 to 2."""
    changes = {"weight": 0.7, "generated": generated, "noise": noise}
    training = make_training(consistency={**CONSISTENCY, **changes})
    state, game, real = begin(model, training), infogan(model, training), real.double()
    latent, q = read_beside_copies(state, game, real)
    expected = inconsistency(q[0][:, :3], q[2][:, :3], 2.0)
    told = game.space.lower_bounds(q[3], latent)["c1"]

    numbers = d_q_step(state, game, real)
    torch.testing.assert_close(numbers[-1], expected.detach())
    plain = d_q_step(begin(model, make_training()), infogan(model, make_training()), real)
    torch.testing.assert_close(numbers[0], plain[0] + 0.7 * expected - generated * told)


def test_consistency_of_several_codes_is_their_mean_and_what_is_told_of_copies_their_sum(
    make_model: Callable[..., Model],
    make_training: Callable[..., Training],
    real: Tensor,
    float64: None,
) -> None:
    model = make_model(codes=["c1 categorical 3", "c2 categorical 2"])
    training = make_training(
        consistency={**CONSISTENCY, "codes": ["c1", "c2"], "weight": 0.7, "generated": 0.5}
    )
    state, game, real = begin(model, training), infogan(model, training), real.double()
    latent, q = read_beside_copies(state, game, real)
    disagreements = [
        inconsistency(q[0][:, place], q[2][:, place], 2.0) for place in (slice(0, 3), slice(3, 5))
    ]
    expected = torch.stack(disagreements).sum() / 2
    told = sum(game.space.lower_bounds(q[3], latent).values())

    numbers = d_q_step(state, game, real)
    torch.testing.assert_close(numbers[-1], expected.detach())
    plain = d_q_step(begin(model, make_training()), infogan(model, make_training()), real)
    torch.testing.assert_close(numbers[0], plain[0] + 0.7 * expected - 0.5 * told)


@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_instance_noise_has_the_stated_deviation_in_both_steps(
    model_block: dict[str, Any],
    make_model: Callable[..., Model],
    make_training: Callable[..., Training],
    pixel_range: tuple[float, float],
) -> None:
    last = "sigmoid" if pixel_range[0] == 0 else "tanh"
    generator = [*model_block["generator"][:-1], f"upconv 1 s2 {last}"]
    model = make_model(generator=generator, pixel_range=list(pixel_range))
    training = make_training(instance_noise="0.2 to 0 until 10")
    state, game = at_iteration(model, training, 5), infogan(model, training)
    real = torch.rand(500, 1, 8, 8)
    seen_images: list[Tensor] = []
    made: list[Tensor] = []
    networks = state.networks
    with (
        networks.discriminator.trunk[0].register_forward_pre_hook(
            lambda _, given: seen_images.append(given[0].detach())
        ),
        networks.generator.register_forward_hook(lambda *given: made.append(given[2].detach())),
    ):
        d_q_step(state, game, real)
        g_step(state, game, 500)
    images = torch.cat([real, made[0], made[1]])
    noise = torch.cat([seen_images[0], seen_images[-1]]) - images
    assert noise.std().item() == pytest.approx(0.1 * (pixel_range[1] - pixel_range[0]), rel=0.02)
    assert noise.mean().abs() < 0.005
    assert len(torch.unique(noise[:, 0, 0, 0])) > 1400  # each image has its own


def test_without_instance_noise_images_are_seen_as_they_are(
    model: Model, make_training: Callable[..., Training], real: Tensor
) -> None:
    training = make_training()
    state = begin(model, training)
    before = state.random.get_state()
    assert seen(state, infogan(model, training), real) is real
    assert torch.equal(state.random.get_state(), before)
    training = make_training(instance_noise="0.2 to 0 until 10")
    for iteration in (10, 11):
        state = at_iteration(model, training, iteration)
        assert torch.equal(seen(state, infogan(model, training), real), real)
    assert not torch.equal(seen(begin(model, training), infogan(model, training), real), real)


@pytest.mark.parametrize(
    ("iteration", "rates"), [(0, (4e-4, 1e-3)), (5, (3e-4, 3e-3)), (10, (2e-4, 5e-3))]
)
def test_rates_follow_the_clock(
    model: Model,
    make_training: Callable[..., Training],
    real: Tensor,
    iteration: int,
    rates: tuple[float, float],
) -> None:
    training = make_training(lr_d="4e-4 to 2e-4 until 10", lr_g="1e-3 to 5e-3 until 10")
    state, game = at_iteration(model, training, iteration), infogan(model, training)
    before = parameters(state.networks)
    d_q_step(state, game, real)
    g_step(state, game, 8)
    # As above: Adam's first step is the rate.
    for part, rate in zip(("discriminator", "generator"), rates, strict=True):
        largest = max(
            (value - before[name]).abs().max().item()
            for name, value in parameters(state.networks).items()
            if name.startswith(part)
        )
        assert largest == pytest.approx(rate, rel=1e-2)


def test_a_rate_that_does_not_change_yet_is_that_rate(
    model: Model, make_training: Callable[..., Training], real: Tensor
) -> None:
    found = []
    for rate in (1e-3, "1e-3 to 0 from 50 until 60"):
        training = make_training(lr_d=rate)
        state = begin(model, training)
        d_q_step(state, infogan(model, training), real)
        found.append(parameters(state.networks.discriminator))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("iteration", "constant"), [(0, 0.0), (5, 0.5), (10, 1.0), (99, 1.0)])
def test_lambdas_follow_the_clock_in_both_steps(
    model: Model,
    make_training: Callable[..., Training],
    real: Tensor,
    iteration: int,
    constant: float,
) -> None:
    line = "0 to 1 until 10"
    found = []
    for weight in (line, constant):
        training = make_training(lambda_categorical=weight, lambda_continuous=weight)
        state = at_iteration(model, training, iteration)
        loss_d, *_ = d_q_step(state, infogan(model, training), real)
        loss_g = g_step(state, infogan(model, training), 8)
        found.append((loss_d, loss_g, gradients(state.networks)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert same(found[0][2], found[1][2]) == set(found[0][2])


@pytest.mark.parametrize("steps", [1, 3])
def test_g_makes_its_steps_and_d_one(
    model: Model, make_training: Callable[..., Training], images: np.ndarray, steps: int
) -> None:
    training = make_training(steps_g=steps)
    state = begin(model, training)
    given = latents(state, lambda: run(state, infogan(model, training), images, 2))
    assert [len(latent) for latent in given] == [8] * 2 * (1 + steps)
    assert len(torch.unique(torch.cat(given), dim=0)) == 16 * (1 + steps)
    for optimizer, expected in ((state.optimizer_d, 2), (state.optimizer_g, 2 * steps)):
        assert {values["step"].item() for values in optimizer.state.values()} == {expected}


def test_the_average_of_g_is_kept_and_changes_nothing(
    model: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    plain, averaged = make_training(), make_training(average_g=0.5)
    first, second = begin(model, plain), begin(model, averaged)
    assert first.evaluated is first.networks
    assert second.evaluated.discriminator is second.networks.discriminator

    average = {
        name: value.double()
        for name, value in copy.deepcopy(second.networks.generator.state_dict()).items()
    }
    steps = train(second, infogan(model, averaged), resident(images, CPU))
    for i in range(12):
        next(steps)
        decay = min(0.5, (1 + i) / (10 + i))
        for name, value in second.networks.generator.state_dict().items():
            counts = name.endswith("num_batches_tracked")
            average[name] = (
                value.double() if counts else decay * average[name] + (1 - decay) * value.double()
            )
    for name, value in second.evaluated.generator.state_dict().items():
        torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in second.evaluated.generator.parameters())

    run(first, infogan(model, plain), images, 12)
    for name, value in first.networks.state_dict().items():
        assert torch.equal(value, second.networks.state_dict()[name])
    moved = first.networks.generator.layers[-2].weight
    assert not torch.allclose(second.evaluated.generator.layers[-2].weight, moved)


def test_the_average_of_g_has_spectral_norm_of_its_own(
    normed: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    training = make_training(average_g=0.99, lr_g=0.1)
    state = begin(normed, training)
    run(state, infogan(normed, training), images, 60)
    layer = state.evaluated.eval().generator.layers[0]
    assert isinstance(layer, nn.Linear)
    assert torch.linalg.svdvals(layer.weight)[0].item() == pytest.approx(1, abs=2e-3)


def test_joint_batch_norm_has_the_statistics_of_both_batches(
    model: Model, make_training: Callable[..., Training], real: Tensor, float64: None
) -> None:
    training = make_training(joint_batch_norm=True)
    state, game = begin(model, training), infogan(model, training)
    other = copy.deepcopy(state.networks)
    real = real.double()
    (latent,) = latents(state, lambda: d_q_step(state, game, real))
    other.discriminator.trunk(torch.cat([real, other.generator(latent)]))
    for name, value in state.networks.discriminator.trunk.named_buffers():
        torch.testing.assert_close(value, other.discriminator.trunk.get_buffer(name))
    apart = begin(model, make_training())
    d_q_step(apart, infogan(model, make_training()), real)
    counts = [
        each.discriminator.trunk.get_buffer("3.num_batches_tracked").item()
        for each in (state.networks, apart.networks)
    ]
    assert counts == [1, 2]


def test_an_extended_training_leaves_the_global_random_state_alone(
    normed: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    training = make_training(**EXTENDED)
    before = torch.get_rng_state()
    run(begin(normed, training), infogan(normed, training), images, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_extended_training_runs_in_half_precision(
    normed: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    training = make_training(**EXTENDED, precision="bfloat16")
    game = infogan(normed, training)
    (row,) = run(begin(normed, training), game, images, 1)
    exact = make_training(**EXTENDED)
    np.testing.assert_allclose(
        row, run(begin(normed, exact), infogan(normed, exact), images, 1)[0], atol=0.1
    )


# --- Continuation --------------------------------------------------------------------------------


def test_what_another_kind_of_device_saved_goes_on_with_new_draws(
    model: Model, training: Training, images: np.ndarray
) -> None:
    game = infogan(model, training)
    first = begin(model, training)
    run(first, game, images, 4)
    content = copy.deepcopy(first.state_dict())
    content |= {"device": "cuda", "random": torch.zeros(16, dtype=torch.uint8)}
    for name in ("optimizer_d", "optimizer_g"):
        for group in content[name]["param_groups"]:
            group["capturable"] = True

    def gone_on(iteration: int = 4) -> State:
        state = begin(model, training)
        state.load_state_dict(copy.deepcopy(content | {"iteration": iteration}))
        for optimizer in (state.optimizer_d, state.optimizer_g):
            assert not any(group["capturable"] for group in optimizer.param_groups)
        assert state.iteration == iteration
        return state

    second, third = gone_on(), gone_on()
    assert torch.equal(second.random.get_state(), third.random.get_state())
    for other in (begin(model, training), gone_on(5)):
        assert not torch.equal(second.random.get_state(), other.random.get_state())
    for mine, theirs in zip(
        second.networks.parameters(), first.networks.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert run(second, game, images, 3) == run(third, game, images, 3)


def everything(state: State) -> list[Tensor]:
    """All tensors of a state: weights, statistics, moments, steps, random state."""
    content = state.state_dict()
    moments = [
        value
        for optimizer in (content["optimizer_d"], content["optimizer_g"])
        for values in optimizer["state"].values()
        for value in values.values()
    ]
    average = (content["average_g"] or {}).values()
    return [*content["networks"].values(), *average, *moments, content["random"], state.clock]


# 28 images are three batches of eight: 3 and 6 are epoch boundaries.
@pytest.mark.parametrize("interruption", [0, 1, 3, 4, 6, 8])
@pytest.mark.parametrize("make_game", GAMES)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    model: Model,
    make_training: Callable[..., Training],
    images: np.ndarray,
    tmp_path: Path,
    make_game: MakeGame,
    interruption: int,
) -> None:
    training = make_training()
    game = make_game(model, training)
    whole = begin(model, training)
    rows = run(whole, game, images, 9)

    first = begin(model, training)
    found = run(first, game, images, interruption)
    checkpoint.save(tmp_path, "game", first.iteration, first.state_dict())
    # What is done after saving changes nothing that was saved.
    run(first, game, images, 2)

    second = begin(model, make_training(seeds=[7]))
    content = checkpoint.load(tmp_path, "game", CPU)
    assert content is not None
    second.load_state_dict(content)
    found += run(second, game, images, 9 - interruption)

    assert found == rows
    assert second.iteration == whole.iteration == 9
    for mine, expected in zip(everything(second), everything(whole), strict=True):
        assert torch.equal(mine, expected)


@pytest.mark.parametrize("interruption", [0, 1, 4, 6])
@pytest.mark.parametrize("make_game", GAMES)
def test_an_interrupted_extended_training_ends_as_an_uninterrupted_one(
    normed: Model,
    make_training: Callable[..., Training],
    images: np.ndarray,
    tmp_path: Path,
    make_game: MakeGame,
    interruption: int,
) -> None:
    training = make_training(**EXTENDED)
    game = make_game(normed, training)
    whole, first = begin(normed, training), begin(normed, training)
    rows = run(whole, game, images, 9)
    found = run(first, game, images, interruption)
    checkpoint.save(tmp_path, "game", first.iteration, first.state_dict())

    second = begin(normed, make_training(**EXTENDED, seeds=[7]))
    content = checkpoint.load(tmp_path, "game", CPU)
    assert content is not None
    second.load_state_dict(content)
    found += run(second, game, images, 9 - interruption)
    assert found == rows
    for mine, expected in zip(everything(second), everything(whole), strict=True):
        assert torch.equal(mine, expected)


class Waiting(Exception):
    """Somebody waits for the end."""


@pytest.mark.parametrize("look", [1, 2, 3, 4])
@pytest.mark.parametrize("extended", [{}, EXTENDED])
@pytest.mark.parametrize("make_game", GAMES)
def test_whoever_waits_gets_the_state_of_the_last_iteration_as_it_was(
    normed: Model,
    make_training: Callable[..., Training],
    images: np.ndarray,
    make_game: MakeGame,
    extended: dict[str, Any],
    look: int,
) -> None:
    """Before the next one, or in it before its first update, which leaves no trace then."""
    training = make_training(**extended)
    game = make_game(normed, training)
    whole, state = begin(normed, training), begin(normed, training)
    rows = run(whole, game, images, 9)
    looks = itertools.count(1)

    def pause() -> None:
        if next(looks) == 4 * 4 + look:
            raise Waiting

    found = []
    with suppress(Waiting):
        for row in train(state, game, resident(images, CPU), pause):
            found.append(row.tolist())
    assert state.iteration == len(found) == 4
    four = begin(normed, training)
    run(four, game, images, 4)
    for mine, expected in zip(everything(state), everything(four), strict=True):
        assert torch.equal(mine, expected)
    found += run(state, game, images, 5)
    assert found == rows
    for mine, expected in zip(everything(state), everything(whole), strict=True):
        assert torch.equal(mine, expected)


def test_a_state_continues_from_its_own_dictionary(
    model: Model, training: Training, game: Game, images: np.ndarray
) -> None:
    first = begin(model, training)
    run(first, game, images, 4)
    second = begin(model, training)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert run(second, game, images, 4) == run(first, game, images, 4)


def test_a_state_counts_its_iterations(
    model: Model, training: Training, game: Game, images: np.ndarray
) -> None:
    state = begin(model, training)
    for i, _ in enumerate(itertools.islice(train(state, game, resident(images, CPU)), 5)):
        assert state.iteration == i + 1


# --- How it is carried out -----------------------------------------------------------------------


def test_real_and_generated_images_keep_batch_norm_statistics_apart(
    model: Model, training: Training, real: Tensor, float64: None
) -> None:
    """One pass for both is, but for rounding, a pass each."""
    together, apart = begin(model, training), begin(model, training)
    real, fake = real.double(), torch.rand(8, 1, 8, 8).double()
    found = together.networks.discriminator.features(real, fake)
    expected = [apart.networks.discriminator.trunk(each) for each in (real, fake)]
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    for name, value in together.networks.state_dict().items():
        torch.testing.assert_close(value, apart.networks.state_dict()[name])
    mixed = apart.networks.discriminator.trunk(torch.cat([real, fake]))
    assert not torch.allclose(torch.cat(found), mixed)


@pytest.mark.parametrize("before", [0, 5])
@pytest.mark.parametrize("make_game", GAMES)
@pytest.mark.parametrize("extended", [False, True])
def test_a_recorded_iteration_is_an_iteration(
    model: Model,
    normed: Model,
    make_training: Callable[..., Training],
    images: np.ndarray,
    make_game: MakeGame,
    before: int,
    extended: bool,
) -> None:
    """All but the recording itself, which needs a GPU: here it is a call of the same function."""
    model = normed if extended else model
    training = make_training(**EXTENDED if extended else {})
    game = make_game(model, training)
    eager, replayed = begin(model, training), begin(model, training)
    run(eager, game, images, before)
    run(replayed, game, images, before)
    supply = batches(torch.from_numpy(images), 8, 0, before, CPU)
    some = list(itertools.islice(supply, 4))

    def record(work: Callable[[], None], random: torch.Generator) -> Callable[[], None]:
        assert random is replayed.random
        for _ in range(3):
            work()
        return work

    step = Recorded(replayed, game, some[0], record)
    rows = [step(batch) for batch in some]
    expected = [one_iteration(eager, game, batch) for batch in some]
    for row, theirs in zip(rows, expected, strict=True):
        assert torch.equal(row, theirs)
    for mine, theirs in zip(everything(replayed), everything(eager), strict=True):
        assert torch.equal(mine, theirs)


def test_half_precision_computes_in_it_and_keeps_the_weights_whole(
    model: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    state = begin(model, make_training())
    game = infogan(model, make_training(precision="bfloat16"))
    seen: list[torch.dtype] = []
    layer = state.networks.discriminator.trunk[0]
    with layer.register_forward_hook(lambda *given: seen.append(given[2].dtype)):
        rows = run(state, game, images, 3)
    assert set(seen) == {torch.bfloat16}
    assert np.isfinite(rows).all()
    assert {value.dtype for value in state.networks.parameters()} == {torch.float32}
    exact = run(begin(model, make_training()), infogan(model, make_training()), images, 1)
    np.testing.assert_allclose(rows[0], exact[0], atol=0.05)
    assert rows[0] != exact[0]


def test_in_half_precision_every_step_sees_the_weights_of_the_one_before(
    model: Model, make_training: Callable[..., Training], images: np.ndarray
) -> None:
    training = make_training(precision="bfloat16", steps_g=3)
    game = infogan(model, training)
    whole, apart = begin(model, training), begin(model, training)
    batch = torch.from_numpy(images[:8])
    one_iteration(whole, game, batch)
    with torch.autocast("cpu", torch.bfloat16):
        d_q_step(apart, game, to_pixels(batch, model.pixel_range))
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            g_step(apart, game, 8)
    for mine, theirs in zip(everything(whole)[:-1], everything(apart)[:-1], strict=True):
        assert torch.equal(mine, theirs)


def test_precision_and_determinism_are_set_for_the_process(
    make_training: Callable[..., Training],
) -> None:
    configure(make_training(precision="tf32", deterministic=True))
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.are_deterministic_algorithms_enabled()
    configure(make_training())
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()
