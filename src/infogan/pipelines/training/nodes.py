"""The loop around the game: numbers, checkpoints, progress and interruptions."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infogan import tracking
from infogan.datasets.values import Arrays, Rows, Weights
from infogan.errors import UserError
from infogan.options import Clustering, Model, Training, fingerprint

if TYPE_CHECKING:  # for private functions only: the signatures of nodes must resolve at run time
    from collections.abc import Generator, Iterator

    import numpy as np
    import torch
    from torch import Tensor

    from infogan.alarms import Alarms
    from infogan.clustering import Apprentice
    from infogan.distributed import Peers
    from infogan.networks import Discriminator
    from infogan.training import Game, State

_logger = logging.getLogger(__name__)

Result = tuple[Weights, Rows, dict[str, Any]]

_DIAGNOSED = 2000  # real images at most, whose categories are looked at


def fit(
    images: Arrays, card: dict[str, Any], checkpoints: Path, model: Model, training: Training
) -> tuple[Weights, Rows, dict[str, Any], dict[str, Weights], Rows, dict[str, Any]]:
    """Train InfoGAN once a seed.

    Of the first seed: weights, history, and a record of how it was done. Of all further ones the
    same, by seed; their histories are one table.
    """
    at_once = _at_once(training)
    trained: list[Result] = []
    for first in range(0, len(training.seeds), at_once):
        group = [training.alone(seed) for seed in training.seeds[first : first + at_once]]
        if len(group) > 1:
            trained += _fit_side_by_side(images, card, checkpoints, model, group)
            continue
        (alone,) = group
        with tracking.child(*_part(alone), nested=len(training.seeds) > 1):
            trained.append(_fit("infogan", images, card, checkpoints, model, alone))
    (weights, rows, record), *others = trained
    record["mlflow_run_id"] = tracking.current().run_id  # the run of all seeds, not of the first
    record["command"] = tracking.command()
    for seed, (_, _, its_record) in zip(training.seeds[1:], others, strict=True):
        record["alarms"] |= {
            f"{kind}, seed {seed}": f"Seed {seed}: {words}"
            for kind, words in its_record["alarms"].items()
        }
    names = [str(seed) for seed in training.seeds[1:]]
    more = {name: each for name, (each, _, _) in zip(names, others, strict=True)}
    records = {name: each for name, (_, _, each) in zip(names, others, strict=True)}
    histories = [
        (int(name), *row)
        for name, (_, its_rows, _) in zip(names, others, strict=True)
        for row in its_rows.rows
    ]
    return weights, rows, record, more, Rows(("seed", *rows.columns), histories), records


def fit_baseline(
    images: Arrays, card: dict[str, Any], checkpoints: Path, model: Model, training: Training
) -> tuple[Weights, Rows, dict[str, Any]]:
    """Train the regular GAN of Figure 1, whose generator is not told about the codes.

    Of the first seed alone.
    """
    alone = training.alone(training.seed)
    return _fit("baseline", images, card, checkpoints, model, alone)


def fit_observed(
    images: Arrays,
    card: dict[str, Any],
    checkpoints: Path,
    model: Model,
    training: Training,
    observe: "Callable[[State], dict[str, Any]]",
) -> tuple[Weights, Rows, dict[str, Any]]:
    """Train InfoGAN once, and look at its state whenever L_I is estimated.

    What is seen is in the record, as ``observations``, an entry each, with iteration and seconds;
    an interrupted training keeps it. The time of looking is not counted as training.
    """
    from infogan.distributed import Peers

    if training.processes > 1:
        raise UserError(
            f"training.devices x training.nodes is {training.processes}, but a study trains each "
            "model in one process: leave both at 1."
        )
    args = Peers(), "infogan", images["train"], card, checkpoints, model, training, observe
    return _Fit(*args).run()


def _fit(
    name: str,
    images: Arrays,
    card: dict[str, Any],
    checkpoints: Path,
    model: Model,
    training: Training,
) -> Result:
    """Train one model, here or in several processes."""
    from infogan.distributed import Peers

    if training.processes == 1 or (name == "baseline" and not training.baseline_iterations):
        return _Fit(Peers(), name, images["train"], card, checkpoints, model, training).run()
    from infogan.launcher import launch

    result: Result = launch(
        f"{name}.{training.seed}",
        _fit_together,
        (
            tracking.current().address,
            name,
            _to_open(images["train"]),
            card,
            checkpoints,
            model,
            training,
        ),
        training,
    )
    return result


def _at_once(training: Training) -> int:
    """How many seeds are trained side by side: a GPU has room for all of them."""
    from infogan.devices import choose_device

    if training.processes > 1:
        return 1
    on_gpu = choose_device(training.device).type == "cuda"
    return training.seeds_at_once or (len(training.seeds) if on_gpu else 1)


def _part(alone: Training) -> tuple[str, dict[str, Any]]:
    """What the run of a seed is called, and in which parameters it differs from that of all."""
    return f"seed {alone.seed}", {"training.seeds": alone.seed}


def _fit_side_by_side(
    images: Arrays,
    card: dict[str, Any],
    checkpoints: Path,
    model: Model,
    group: Sequence[Training],
) -> list[Result]:
    """Train several seeds in this process, with one copy of the images."""
    from infogan.batches import resident
    from infogan.distributed import Peers

    hold = cache(partial(resident, images["train"]))
    with ExitStack() as runs:
        fits = []
        # Torch looks into one training at a time.
        first, *others = group
        for alone in (first, *(each.model_copy(update={"profile": False}) for each in others)):
            tracker = runs.enter_context(tracking.part(*_part(alone)))
            given = Peers(), "infogan", images["train"], card, checkpoints, model, alone
            with tracking.active(tracker):
                fits.append(_Fit(*given, hold=hold))
        return _together(fits)


def _fit_together(
    peers: "Peers",
    address: tuple[str, str, bool] | None,
    name: str,
    images: "Callable[[], np.ndarray]",
    *others: Any,
) -> Result:
    """In one of several processes."""
    tracking.activate(tracking.attach(address if peers.first else None))
    try:
        return _Fit(peers, name, images(), *others).run()
    finally:
        tracking.current().flush()


def _to_open(images: "np.ndarray") -> "Callable[[], np.ndarray]":
    """What opens the same images in another process: its file, if they are mapped from one."""
    import numpy as np

    if isinstance(images, np.memmap) and images.filename is not None:
        where = (images.filename, images.dtype, "r", images.offset, images.shape)
        return partial(np.memmap, *where)
    return partial(np.asarray, images)


def _idling(apprentice: "Apprentice") -> "Generator[None]":
    """As many iterations as another process needs to teach its own."""
    while apprentice.done < apprentice.iterations:
        apprentice.done += 1
        yield


class _Stop(Exception):
    """Somebody waits for the program to end."""


class _Fit:
    """One training: from its checkpoint, if there is one, to the given iteration."""

    def __init__(
        self,
        peers: "Peers",
        name: str,
        images: "np.ndarray",
        card: dict[str, Any],
        checkpoints: Path,
        model: Model,
        options: Training,
        observe: "Callable[[State], dict[str, Any]] | None" = None,
        hold: "Callable[[torch.device], Tensor | np.ndarray] | None" = None,
    ) -> None:
        from infogan.alarms import Alarms, least_information
        from infogan.batches import resident
        from infogan.devices import choose_device, configure
        from infogan.distributed import distribute
        from infogan.training import infogan, regular_gan, start

        configure(options)
        informed = name == "infogan"
        game = (infogan if informed else regular_gan)(model, options, peers.share)
        self._peers = peers
        self._tracker = tracking.current()
        self._provenance = tracking.provenance()
        self._name = name
        self._label = f"{name}.{options.seed}"  # of its checkpoints
        self._game = game
        self._iterations = options.iterations if informed else options.baseline_iterations
        self._images = images
        self._hold = hold or partial(resident, images)
        self._image_shape = tuple(card["shape"])
        self._data_sha256 = card["splits"]["train"]["sha256"]
        self._folder = checkpoints / fingerprint(model, options, self._data_sha256)
        self._model = model
        self._device = choose_device(options.device)
        self._state = start(model, options, self._image_shape, self._device)
        whose = "" if informed else f"{name}."
        self._alarms = Alarms(
            name,
            least_information(model) if informed else {},
            lambda kind, words: self._tracker.set_tags({f"alarm.{whose}{kind}": words}),
        )
        if not peers.alone:
            distribute(self._state, synchronised=options.batch_norm == "synchronised")
        self._history = _History(name, game, self._alarms, peers, self._tracker)
        self._noted: Callable[[], bool]
        self._observe = observe
        self._observations: list[dict[str, Any]] = []
        self._apprentice: Apprentice | None = None  # who is to become the teacher
        self._learned: dict[str, Any] | None = None  # its state before an interruption
        self._anew = options.resume == "never"
        self._seconds = 0.0
        self._began = time.perf_counter()

    @property
    def device(self) -> "torch.device":
        """Where it is trained."""
        return self._device

    @property
    def peers(self) -> "Peers":
        """The processes that it is trained in."""
        return self._peers

    def run(self) -> Result:
        """Train; weights, history, and a record of how it was done."""
        (result,) = _together([self])
        return result

    def steps(self, noted: Callable[[], bool]) -> "Generator[None, None, Result]":
        """Train, an iteration whenever asked; it ends with the result.

        ``noted`` says whether it shall stop: then it saves and raises _Stop.
        """
        self._noted = noted
        self._resume()
        _logger.info(
            "%s: from iteration %d to %d on %s%s",
            self._name,
            self._state.iteration,
            self._iterations,
            self._place(str(self._device)),
            self._how(),
        )
        yield from self._train()
        return self._result()

    def _place(self, device: str) -> str:
        return device if self._peers.alone else f"{self._peers.share.processes} x {device}"

    def _how(self) -> str:
        """Whether a GPU replays a recording of the iteration, as it is told."""
        if self._device.type != "cuda":
            return ""
        recorded = self._game.training.cuda_graph and self._peers.alone
        return ", recorded as a CUDA graph" if recorded else ", without a CUDA graph"

    def _resume(self) -> None:
        import torch

        from infogan import checkpoint

        if self._anew:
            return
        # Of several processes only the first one needs to see the file, and its GPU is not theirs.
        device = self._device if self._peers.alone else torch.device("cpu")
        saved = self._peers.from_first(
            lambda: checkpoint.load(self._folder, self._label, device, self._iterations)
        )
        if saved:
            self._state.load_state_dict(saved["state"])
            self._alarms.raised.update(saved["alarms"])
            self._history.resume(saved["rows"], self._looks)
            self._seconds = saved["seconds"]
            self._observations = saved["observations"]
            self._learned = saved["apprentice"]
        for path in sorted(self._folder.parent.glob(f"*/{self._label}.*.pt")):
            if path.parent != self._folder:
                _logger.info(
                    "%s: %s is of another training (other parameters, data or code) and is left "
                    "alone",
                    self._name,
                    path,
                )

    def _save(self) -> None:
        import torch

        from infogan import checkpoint

        if self._apprentice:
            self._apprentice.check()
        weights = self._state.networks.state_dict().values()
        # A sum is finite only if all are, and it is the cheapest look at them.
        if not torch.stack([value.float().sum() for value in weights]).isfinite().all():
            raise self._alarms.diverged("a weight is not finite", self._state.iteration)
        if not self._peers.first:
            return
        content = {
            "state": self._state.state_dict(),
            "apprentice": self._apprentice.state_dict() if self._apprentice else None,
            "rows": self._history.rows,
            "alarms": self._alarms.raised,
            "seconds": self._seconds + time.perf_counter() - self._began,
            "observations": self._observations,
        }
        checkpoint.save(self._folder, self._label, self._state.iteration, content, anew=self._anew)
        self._anew = False
        # After the checkpoint, for a server may take its time, and a scheduler may not have it.
        # What is lost in between is sent again from the checkpoint's rows.
        self._tracker.flush()

    @property
    def _looks(self) -> tuple[int, ...]:
        """At every which iterations a row is logged, if nothing comes between."""
        options = self._game.training
        return options.log_every, options.evaluate_every, options.checkpoint_every

    def _pause(self) -> None:
        if self._peers.any(self._noted()):
            raise _Stop

    def _hurries(self) -> bool:
        """Whether to look at once. On a CPU the next iteration does, before anything else.
        Processes with a GPU each, which nothing shall keep waiting, look together at the next
        iteration that is logged, and stop there.
        """
        return self._peers.alone and self._noted()

    def _evaluate(self) -> None:
        bounds = _held_out(self._state, self._game, self._pause)
        told = _diagnose(self._state, self._game, self._images, self._alarms, self._pause)
        self._history.evaluated(bounds, told)
        if self._observe:
            self._look(self._observe)
        self._tracker.log_image(
            self._name, self._state.iteration, lambda: _sheet(self._state, self._game)
        )

    def _look(self, observe: "Callable[[State], dict[str, Any]]") -> None:
        began = time.perf_counter()
        seen = {
            "iteration": self._state.iteration,
            "seconds": round(self._seconds + began - self._began, 1),
            **observe(self._state),
        }
        self._observations.append(seen)
        numbers = {name: each for name, each in seen.items() if isinstance(each, float)}
        row = self._state.iteration, *numbers.values()
        self._tracker.log_row("observed", ("iteration", *numbers), row)
        self._began += time.perf_counter() - began

    def _train(self) -> "Generator[None]":
        from tqdm import tqdm

        seed = self._game.training.seed
        with tqdm(
            total=self._iterations,
            initial=self._state.iteration,
            desc=f"{self._name}, seed {seed}" if seed else self._name,
            unit="it",
            dynamic_ncols=True,
            disable=not self._peers.first,
            mininterval=0.5 if sys.stderr.isatty() else 15,  # a log file wants few lines
        ) as bar:
            try:
                yield from self._iterate(bar)
                self._pause()  # the signal may have come with the last iteration
            except _Stop:
                self._history.collect(self._state.iteration)
                self._save()
                done, of = self._state.iteration, ""
                if self._apprentice:
                    done, of = self._apprentice.done, " of the clustering before its first one"
                _logger.warning("%s stops at iteration %d%s, which is saved", self._name, done, of)
                raise

    def _iterate(self, bar: Any) -> "Generator[None]":
        """Numbers stay on the device until somebody needs one."""
        from infogan.training import train

        options, state, history = self._game.training, self._state, self._history
        if not history.rows:
            history.open()
        if not self._iterations:  # there is no regular GAN
            return
        if self._game.clustering and not state.teacher:
            yield from self._cluster(self._game.clustering)
        if history.awaits_evaluation(options.evaluate_every, self._iterations):
            self._evaluate()
        at_end = state.iteration >= self._iterations
        if at_end or any(state.iteration % every == 0 for every in self._looks):
            history.log()  # an interruption may have come before
        if at_end:
            return
        # On a CPU an iteration may take seconds, which nobody who waits has.
        pause = self._pause if self._device.type == "cpu" else None
        steps = train(state, self._game, self._hold(self._device), pause)
        profiles = options.profile and self._peers.first
        for numbers in self._profiled(steps) if profiles else steps:
            history.append(numbers)
            done = state.iteration
            last = done == self._iterations
            evaluates = done % options.evaluate_every == 0 or last
            saves = done % options.checkpoint_every == 0 or last
            if evaluates or saves or self._hurries() or done % options.log_every == 0:
                history.collect(done)
                self._pause()
                if evaluates:
                    self._evaluate()
                history.log()
                bar.set_postfix_str(history.summary(), refresh=False)
                bar.update(done - bar.n)
            if saves:
                self._save()
            if last:
                return
            yield

    def _cluster(self, options: Clustering) -> "Generator[None]":
        """Train the teacher. Of several processes the first one does; the others keep its pace."""
        from tqdm import tqdm

        from infogan.clustering import Apprentice

        training = self._game.training
        self._apprentice = Apprentice(
            self._model, options, training, self._image_shape, self._device
        )
        if self._learned:
            self._apprentice.load_state_dict(self._learned)
            self._learned = None  # so much memory is free again
            _logger.info(
                "%s: the clustering goes on from iteration %d", self._name, self._apprentice.done
            )
        steps = (
            self._apprentice.learn(self._hold(self._device))
            if self._peers.first
            else _idling(self._apprentice)
        )
        with tqdm(
            total=self._apprentice.iterations,
            initial=self._apprentice.done,
            desc="clusters",
            unit="it",
            dynamic_ncols=True,
            disable=not self._peers.first,
            mininterval=15,
        ) as bar:
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    self._state.teacher, self._apprentice = self._given(end.value), None
                    break
                self._pause()
                bar.update()
                if self._apprentice.done % training.checkpoint_every == 0:
                    self._save()
                yield
        self._save()

    def _given(self, teacher: "Discriminator | None") -> "Discriminator":
        """The first process's teacher, in every process."""
        import torch

        from infogan.clustering import frozen
        from infogan.networks import Discriminator

        def learned() -> "dict[str, Tensor]":
            """On the CPU, for the first one's GPU is not that of the others."""
            assert teacher is not None
            return {name: value.cpu() for name, value in teacher.state_dict().items()}

        weights = self._peers.from_first(learned)
        if teacher:
            return teacher
        given = Discriminator(self._model, self._image_shape)
        given.load_state_dict(weights)
        given.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return frozen(given)

    def _profiled(self, steps: "Iterator[Tensor]") -> "Iterator[Tensor]":
        from infogan.profiling import NEEDED, profiled

        left = self._iterations - self._state.iteration
        if left < NEEDED:
            _logger.warning(
                "%s: training.profile looks into %d iterations, but %d are left: there will be no "
                "profile",
                self._name,
                NEEDED,
                left,
            )
        place = f"profile/{self._label}"
        folder = self._folder.parent / place
        return profiled(steps, folder, lambda: self._tracker.log_artifact(folder, place))

    def _result(self) -> tuple[Weights, Rows, dict[str, Any]]:
        import torch

        from infogan.networks import to_arrays

        card = {
            "name": self._name,
            "model": self._model.model_dump(mode="json"),
            "training": self._game.training.model_dump(mode="json"),
            "image_shape": list(self._image_shape),
            "iterations": self._state.iteration,
            "data_sha256": self._data_sha256,
        }
        on_gpu = self._device.type == "cuda"
        observed = {"observations": self._observations} if self._observe else {}
        record = {
            **observed,
            "iterations": self._state.iteration,
            "seconds": round(self._seconds + time.perf_counter() - self._began, 1),
            "device": self._place(torch.cuda.get_device_name(self._device) if on_gpu else "cpu"),
            "threads": torch.get_num_threads(),
            "alarms": self._alarms.raised,
            "data_sha256": self._data_sha256,
            **self._provenance,
        }
        rows = Rows(tuple(self._history.columns), self._history.rows)
        return Weights(to_arrays(self._state.evaluated), card), rows, record


def _together(fits: Sequence[_Fit]) -> list[Result]:
    """Train one, or several of one process, each in turn an iteration.

    On a GPU each has a stream of its own, so that what they compute may overlap. If one of them
    fails, or a signal comes, all are saved before this is said.
    """
    from tqdm.contrib.logging import logging_redirect_tqdm

    from infogan.devices import stream
    from infogan.interrupts import postponed_interrupts

    results: dict[int, Result] = {}
    failures: list[Exception] = []
    # The launcher passes signals on that a process may have received itself.
    patient = not fits[0].peers.alone
    with postponed_interrupts(patient=patient) as signalled, logging_redirect_tqdm():
        running = {
            place: (fit.steps(lambda: bool(failures) or signalled()), stream(fit.device))
            for place, fit in enumerate(fits)
        }
        while running:
            for place, (steps, its_stream) in tuple(running.items()):
                try:
                    with its_stream:
                        next(steps)
                        continue
                except StopIteration as end:
                    results[place] = end.value
                except _Stop:
                    pass
                except Exception as failure:  # said when the others are saved
                    failures.append(failure)
                del running[place]
    if failures:
        raise failures[0]
    # A signal may have come after the last look at it; what is done is in a checkpoint.
    if len(results) < len(fits) or signalled():
        raise KeyboardInterrupt
    return [results[place] for place in range(len(fits))]


def _held_out(state: "State", game: "Game", pause: Callable[[], None]) -> list[float]:
    """L_I of each code on fresh codes, the same ones every time."""
    import torch

    from infogan.information import fresh_lower_bounds
    from infogan.seeds import HELD_OUT, derive_seed

    options = game.training
    random = torch.Generator(state.random.device)
    random.manual_seed(derive_seed(options.seed, HELD_OUT))
    bounds = fresh_lower_bounds(
        state.evaluated, game.space, options.evaluation_samples, random, pause
    )
    return list(bounds.values())


def _sheet(state: "State", game: "Game") -> "np.ndarray":
    """What each code does to the images, of the same codes and noise every time."""
    import torch

    from infogan.seeds import SHEET, derive_seed
    from infogan.traversals import sheet

    random = torch.Generator(state.random.device)
    random.manual_seed(derive_seed(game.training.seed, SHEET))
    return sheet(state.evaluated, game.space, game.pixel_range, random)


def _diagnose(
    state: "State",
    game: "Game",
    images: "np.ndarray",
    alarms: "Alarms",
    pause: Callable[[], None],
) -> dict[str, float]:
    """Look at generated images, and at the categories of some real ones.

    What categorical codes tell of the real ones, where G is told about codes.
    """
    import torch

    from infogan.information import category_information, contrast, read_categories, unused
    from infogan.networks import to_pixels
    from infogan.seeds import DIAGNOSIS, derive_seed

    seed = derive_seed(game.training.seed, DIAGNOSIS)
    device = state.random.device
    step = -(-len(images) // _DIAGNOSED)
    real = to_pixels(torch.from_numpy(images[::step].copy()).to(device), game.pixel_range)
    random = torch.Generator(device).manual_seed(seed)
    varies = contrast(state.evaluated, game.space, game.pixel_range, random, pause)
    read = (
        read_categories(state.evaluated, game.space, real, pause) if game.informs_generator else {}
    )
    alarms.examine(state.iteration, varies, {name: unused(each) for name, each in read.items()})
    return {name: category_information(each) for name, each in read.items()}


class _History:
    """One row an iteration: what the minibatch gave, and now and then L_I on fresh codes.

    Row 0 is the untrained model. A row's minibatch numbers are those before its update, its
    held-out numbers those after it.
    """

    def __init__(
        self,
        name: str,
        game: "Game",
        alarms: "Alarms",
        peers: "Peers",
        tracker: tracking.Tracker,
    ) -> None:
        self.rows: list[tuple[float | None, ...]] = []
        self.columns = [
            "iteration",
            *game.columns,
            *(f"held_out.{code}" for code in game.space.codes),
        ]
        self._name = name
        self._alarms = alarms
        self._peers = peers
        self._tracker = tracker
        self._batch_columns = game.columns
        self._codes = list(game.space.codes)
        entropies = game.space.entropies()
        self._entropies = {f"entropy.{code}": value for code, value in entropies.items()}
        self._told: dict[str, float] = {}  # of real images, as the last row with held-out numbers
        self._pending: list[Tensor] = []

    def open(self) -> None:
        """Begin with row 0."""
        self.rows.append((0, *[None] * (len(self.columns) - 1)))

    def resume(self, rows: Sequence[Sequence[float | None]], looks: Sequence[int]) -> None:
        """Begin with the rows of a checkpoint; what was alarming in them still counts.

        Those that are logged, every so many iterations (``looks``), are logged again; the tracker
        drops what its store has.
        """
        self.rows = [tuple(row) for row in rows]
        for row in self.rows[1:]:
            self._watch(row)
        for row in self.rows[:-1]:
            if any(int(row[0] or 0) % every == 0 for every in looks):
                self._log(row, {})

    def append(self, numbers: "Tensor") -> None:
        """Keep the numbers of one iteration where they are."""
        self._pending.append(numbers)

    def collect(self, iteration: int) -> None:
        """Bring all numbers up to this iteration to the host, and check them.

        The numbers of shares of a batch become those of the batch.
        """
        import torch

        if not self._pending:
            return
        batches = self._peers.mean(torch.stack(self._pending)).cpu().tolist()
        self._pending.clear()
        for offset, numbers in enumerate(batches, start=iteration - len(batches) + 1):
            row = (offset, *numbers, *[None] * len(self._codes))
            self._watch(row)
            self.rows.append(row)

    def awaits_evaluation(self, every: int, iterations: int) -> bool:
        """Whether the last row's turn for held-out numbers was cut off."""
        iteration = int(self.rows[-1][0] or 0)
        return self.rows[-1][-1] is None and (iteration % every == 0 or iteration == iterations)

    def evaluated(self, held_out: Sequence[float], told: dict[str, float]) -> None:
        """Give the last row its held-out numbers; what codes tell of real images goes beside."""
        self._told = {f"information_real.{code}": value for code, value in told.items()}
        self.rows[-1] = (*self.rows[-1][: -len(self._codes)], *held_out)

    def log(self) -> None:
        """The last row to where numbers go; where it has held-out numbers, with H(c) and what
        codes tell of real images beside.
        """
        self._log(self.rows[-1], self._told)

    def _log(self, row: Sequence[float | None], told: dict[str, float]) -> None:
        beside = self._entropies | told if row[-1] is not None else {}
        columns = [*self.columns, *beside]
        self._tracker.log_row(self._name, columns, [*row, *beside.values()])

    def summary(self) -> str:
        """The bounds of the last row, for the progress bar."""
        row = dict(zip(self.columns, self.rows[-1], strict=True))
        return ", ".join(f"L_I({code}) {row[f'lower_bound.{code}']:.2f}" for code in self._codes)

    def _watch(self, row: Sequence[float | None]) -> None:
        numbers = dict(zip(self._batch_columns, row[1:], strict=False))
        self._alarms.watch(int(row[0] or 0), numbers)  # type: ignore[arg-type]
