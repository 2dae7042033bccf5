"""Train every recipe with every seed, once; then compare what came of it."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infogan import tracking
from infogan.datasets.values import Arrays
from infogan.errors import UserError
from infogan.files import atomic, remove_empty
from infogan.options import (
    Model,
    Reporting,
    Study,
    Training,
    check_training,
    extensions,
    fingerprint,
    flatten,
)
from infogan.pipelines.training.nodes import fit_observed

if TYPE_CHECKING:  # for private functions only: the signatures of nodes must resolve at run time
    from infogan.networks import Discriminator, Networks

_logger = logging.getLogger(__name__)

_JUDGING = ("mapping_images", "stability_images", "generated_images")
_MANY_RECIPES = 4  # so many are worth a summary of what rules chose
_CALIBRATED = 500  # images a batch, where batch norm's statistics are those of real images
_STABILITY, _GENERATED, _CLASSIFIER, _QUALITY = range(20, 24)  # what the study's seed is for


def run_study(
    images: Arrays,
    labels: Arrays,
    card: dict[str, Any],
    folder: Path,
    model: Model,
    training: Training,
    study: Study,
) -> dict[str, Any]:
    """All runs of the study: those that ``folder`` does not have yet are trained.

    A run that was interrupted goes on; one whose recipe, data or code have changed begins anew.
    """
    from infogan.study import applied

    if not all(len(labels[split]) for split in ("train", "test")):
        raise UserError("A study judges categories by labels, but the data set has none.")
    plans = {}
    for name, recipe in study.chosen.items():
        common_model, common_training = applied(model, training, study.common)
        plans[name] = applied(common_model, common_training, recipe)
        _check(name, *plans[name], card)  # all of them before the first is trained
    judge = _Judge(images, labels, study)
    judged = study.model_dump(include={"seed", *_JUDGING})
    runs = []
    for seed in study.seeds:  # every recipe once, before any twice
        for name, (its_model, its_training) in plans.items():
            alone = its_training.alone(seed)
            identity = fingerprint(its_model, alone, card["splits"]["train"]["sha256"])
            path = folder / f"{name}.{seed}.json"
            wanted = {
                "fingerprint": identity,
                "iterations": alone.iterations,
                "judged": judged,
                "test_sha256": card["splits"]["test"]["sha256"],
            }
            run = _finished(path, wanted, len(images["test"]))
            runs.append(run or _made(path, name, wanted, judge, card, its_model, alone))
    return {"runs": runs}


def _made(
    path: Path,
    name: str,
    wanted: Mapping[str, Any],
    judge: "_Judge",
    card: dict[str, Any],
    model: Model,
    training: Training,
) -> dict[str, Any]:
    """The run of a recipe and a seed: trained, tracked and kept at ``path``."""
    checkpoints, identity = path.parent / "checkpoints", wanted["fingerprint"]
    with tracking.child(
        f"{name}, seed {training.seed}",
        {"study.recipe": name, **flatten(model, "model"), **flatten(training, "training")},
        f"{identity} {training.iterations}",
        nested=True,
    ):
        found = _train(judge, card, checkpoints, model, training)
        run = {"recipe": name, "seed": training.seed, **wanted, **found}
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(run))
        _forget(checkpoints / identity, training)
    error = 100 * run["observations"][-1]["error_one_to_one"]
    _logger.info("%s, seed %d: error %.1f %%", name, training.seed, error)
    return run


def _forget(folder: Path, training: Training) -> None:
    """Remove the checkpoints of a finished run; those of other seeds lie beside them."""
    from infogan.checkpoint import discard

    discard(folder, f"infogan.{training.seed}", training.iterations)
    remove_empty(folder, folder.parent)


def _check(name: str, model: Model, training: Training, card: Mapping[str, Any]) -> None:
    """UserError where the recipe's model, training and the images do not go together."""
    from infogan.study import studied_code

    images = card["splits"]["train"]["images"]
    try:
        model.check_image_shape(tuple(card["shape"]))
        check_training(model, training)
        studied_code(model)
        if training.batch_size > images:
            raise UserError(
                f"training.batch_size is {training.batch_size}, but there are only {images} "
                "images; a batch cannot be larger than the data."
            )
    except UserError as error:
        raise UserError(f"study.recipes.{name}: {error}") from None


def _finished(path: Path, wanted: Mapping[str, Any], tested: int) -> dict[str, Any] | None:
    """The run that was done before, if it is this one, judged on as many images."""
    if not path.exists():
        return None
    run: dict[str, Any] = json.loads(path.read_text())
    # Runs of earlier versions do not say by which images they were judged, but how many these are.
    told = {"test_sha256": wanted["test_sha256"], **run}
    same = all(told.get(key) == value for key, value in wanted.items())
    same = same and len(run["categories"]) == tested
    if not same:
        _logger.warning(
            "%s is of another recipe, data, code, length or judge; it is trained anew", path
        )
    return run if same else None


def _train(
    judge: "_Judge", card: dict[str, Any], checkpoints: Path, model: Model, training: Training
) -> dict[str, Any]:
    """What a training finds, and what is seen of its networks at the end."""
    from infogan.browsing import headline
    from infogan.networks import rebuild
    from infogan.study import studied_code

    weights, rows, record = fit_observed(
        judge.images,
        card,
        checkpoints,
        model,
        training,
        lambda state: judge.observe(state.evaluated.discriminator, model),
    )
    _, networks = rebuild(weights.card, weights.arrays)
    last = dict(zip(rows.columns, rows.rows[-1], strict=True))
    numbers = judge.conclude(networks, model)
    found = _as_evaluated(judge.information(networks, model), last, record, numbers, model)
    seen = record["observations"][-1]
    evaluated = {
        **{name: value for name, value in seen.items() if isinstance(value, float)},
        **{f"{name}_recalibrated": value for name, value in numbers["recalibrated"].items()},
        "stability": numbers["stability"],
    }
    tracking.current().log_metrics(
        {
            **headline(found),
            **{f"{tracking.EVALUATION}{name}": value for name, value in evaluated.items()},
            **{f"generated/{name}": value for name, value in numbers["quality"].items()},
        }
    )
    _describe(found, record["alarms"].values(), model, training)
    return {
        **record,
        "lower_bound": last[f"held_out.{studied_code(model)}"],
        "precision": training.precision,
        **numbers,
    }


def _as_evaluated(
    information: Mapping[str, float],
    last: Mapping[str, Any],
    record: Mapping[str, Any],
    numbers: Mapping[str, Any],
    model: Model,
) -> dict[str, float]:
    """What a study knows of a run, by the names that an evaluation gives such numbers."""
    from infogan.codes import LatentSpace

    entropies = LatentSpace(model).entropies()
    seen = record["observations"][-1]
    return {
        **{f"entropy.{code}": entropy for code, entropy in entropies.items()},
        **{f"lower_bound.{code}": last[f"held_out.{code}"] for code in entropies},
        **{f"information_real.{code}": value for code, value in information.items()},
        **{name: seen[name] for name in ("error_one_to_one", "error_majority")},
        **{f"{name}_recalibrated": each for name, each in numbers["recalibrated"].items()},
    }


def _describe(
    found: Mapping[str, float], alarms: Iterable[str], model: Model, training: Training
) -> None:
    """The result, in the description of the run, with what is not in the paper of its recipe."""
    from infogan.browsing import describe

    tracker = tracking.current()
    own, extended = tracker.tags(), extensions(model, training)
    # The study's run, if it is of an earlier version, has handed down that of another recipe.
    tags = {"extended": extended} if extended or "extended" in own else {}
    note = describe({**own, **tags}, found, alarms=list(alarms))
    tracker.set_tags({tracking.NOTE: note, **tags})


class _Judge:
    """What looks at the networks of every run with the same eyes."""

    def __init__(self, images: Arrays, labels: Arrays, study: Study) -> None:
        self.images = images
        self._study = study
        count = study.mapping_images
        self._seen = {"train": images["train"][:count], "test": images["test"]}
        self._labels = {
            "train": np.asarray(labels["train"][:count]),
            "test": np.asarray(labels["test"]),
        }
        self._classes = int(max(labels["train"].max(), labels["test"].max())) + 1
        self._train_labels = np.asarray(labels["train"])
        self._judge: Any = None

    def observe(self, discriminator: "Discriminator", model: Model) -> dict[str, Any]:
        from infogan.codes import LatentSpace
        from infogan.study import observe, studied_code

        return observe(
            discriminator,
            LatentSpace(model),
            studied_code(model),
            model.pixel_range,
            self._seen,
            self._labels,
            self._classes,
        )

    def information(self, networks: "Networks", model: Model) -> dict[str, float]:
        """What each categorical code tells of the test images, in nats."""
        from infogan.codes import LatentSpace
        from infogan.study import information_of_codes

        return information_of_codes(
            networks, LatentSpace(model), model.pixel_range, self._seen["test"]
        )

    def conclude(self, networks: "Networks", model: Model) -> dict[str, Any]:
        """What is looked at once, at the end."""
        from infogan.choice import stability
        from infogan.codes import LatentSpace
        from infogan.evaluation import recalibrated
        from infogan.seeds import derive_seed
        from infogan.study import (
            categories_of,
            shapes_of_codes,
            slightly_deformed,
            studied_code,
        )

        space, code, pixels = LatentSpace(model), studied_code(model), model.pixel_range
        test = self._seen["test"]
        categories = categories_of(networks, space, code, pixels, test)
        some = test[: self._study.stability_images]
        seed = derive_seed(self._study.seed, _STABILITY)
        moved = categories_of(networks, space, code, pixels, slightly_deformed(some, pixels, seed))
        calibrated = recalibrated(networks.discriminator, self._seen["train"], pixels, _CALIBRATED)
        again = self.observe(calibrated, model)
        return {
            "recalibrated": {name: again[name] for name in ("error_one_to_one", "error_majority")},
            "categories": categories.tolist(),
            "stability": stability(categories[: len(some)], moved),
            "continuous": shapes_of_codes(networks, space, pixels, test),
            "quality": self._quality(networks, model),
        }

    def _quality(self, networks: "Networks", model: Model) -> dict[str, float]:
        """Generated images in the eyes of a small classifier of the data set."""
        from infogan.codes import LatentSpace
        from infogan.quality import Judge, generated
        from infogan.seeds import derive_seed
        from infogan.study import studied_code

        if not self._study.generated_images:
            return {}
        seed = self._study.seed
        if self._judge is None:
            _logger.info("A small classifier is trained, to judge generated images")
            self._judge = Judge.of(
                (self.images["train"], self._seen["test"]),
                (self._train_labels, self._labels["test"]),
                derive_seed(seed, _CLASSIFIER),
            )
        made, categories = generated(
            networks,
            LatentSpace(model),
            studied_code(model),
            self._study.generated_images,
            model.pixel_range,
            derive_seed(seed, _GENERATED),
        )
        found: dict[str, float] = self._judge.judge(made, categories, derive_seed(seed, _QUALITY))
        return found


# --- What it says --------------------------------------------------------------------------------


def draw_study(runs: dict[str, Any], reporting: Reporting) -> dict[str, Any]:
    """Error over iterations and seconds, L_I beside it, and the distribution of the error."""
    from infogan.figures import study

    return {"study": study(runs["runs"], reporting.dpi)}


def write_study(
    runs: dict[str, Any], card: dict[str, Any], study: Study, reporting: Reporting
) -> str:
    """The page of the study, in Markdown: every number of it comes from the runs.

    They need not be of these parameters, which say no more than what a recipe's name means.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from infogan.study import choices, matching_kept_since, tallies

    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for run in runs["runs"]:
        by_recipe.setdefault(run["recipe"], []).append(run)
    environment = Environment(
        loader=PackageLoader("infogan", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # it is Markdown
        keep_trailing_newline=True,
    )
    template = environment.get_template("study.md.j2")
    summaries = {name: _summary(each) for name, each in by_recipe.items()}
    iterations = {seen["iteration"] for run in runs["runs"] for seen in run["observations"]} - {0}
    several = [each for each in by_recipe.values() if len(each) > 1]
    return template.render(
        title=reporting.title,
        partial=card.get("partial"),
        mapped=_judged_on(runs["runs"], "mapping_images", card["splits"]["train"]["images"]),
        moved=_judged_on(runs["runs"], "stability_images", card["splits"]["test"]["images"]),
        by_recipe=by_recipe,
        summaries=summaries,
        judged={name: each for name, each in summaries.items() if each["quality"]},
        iterations=sorted(iterations),
        greatest=_greatest,
        number=_number,
        recalibrated=_recalibrated,
        differ=_differ(runs["runs"]),
        choices={name: choices(each) for name, each in by_recipe.items() if len(each) > 1},
        tallied=tallies(several) if len(several) >= _MANY_RECIPES else [],
        recipes_of_several=len(several),
        faults=_faults,
        matching_kept_since=matching_kept_since,
        changes={name: _changes(study, name) for name in by_recipe},
    )


def _judged_on(runs: Sequence[Mapping[str, Any]], name: str, there_are: int) -> str:
    """How many images the runs were judged on: ``500``, ``500 or 2,000``, ``500 to 4,000``."""
    counts = sorted({min(run["judged"][name], there_are) for run in runs})
    words = [f"{count:,}" for count in counts]
    return f"{words[0]} to {words[-1]}" if len(words) > 2 else " or ".join(words)


def _faults(observations: Sequence[Mapping[str, Any]]) -> str:
    from infogan.study import lasting

    found = lasting(observations)
    return ", ".join(f"{fault} (since {since})" for fault, since in found.items()) or "none"


def _changes(study: Study, name: str) -> str:
    """What a recipe of this name changes; nothing is known of one that is not there any more."""
    recipe = study.recipes.get(name)
    if recipe is None:
        return "no longer among the parameters"
    changed = {**recipe.model, **recipe.training}
    return f"`{json.dumps(changed)}`" if changed else "nothing of its own"


def _number(table: Mapping[str, float], name: str, how: str) -> str:
    """A dash where the runs were made before there was this number."""
    return how % table[name] if name in table else "–"


def _recalibrated(run: Mapping[str, Any]) -> str:
    """The error with batch-norm statistics of real images; a dash in runs that lack it."""
    error = run.get("recalibrated", {}).get("error_one_to_one")
    return "–" if error is None else f"{100 * error:.2f}"


def _differ(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The runs whose error hangs on those statistics."""
    from infogan.report import BATCH_NORM_TOLERANCE

    return [
        f"{run['recipe']}, seed {run['seed']}"
        for run in runs
        if "recalibrated" in run
        and abs(
            run["recalibrated"]["error_one_to_one"] - run["observations"][-1]["error_one_to_one"]
        )
        > BATCH_NORM_TOLERANCE
    ]


def _greatest(run: Mapping[str, Any], name: str) -> str:
    """The greatest number of that name of all continuous codes; a dash if there is no code."""
    found = [each[name] for each in run["continuous"].values()]
    return f"{max(found):.2f}" if found else "–"


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Errors over seeds at each observation, in percent; and means of other numbers."""
    errors = np.array([[o["error_one_to_one"] for o in run["observations"]] for run in runs]) * 100
    iterations = [seen["iteration"] for seen in runs[0]["observations"]]
    return {
        "after": dict(zip(iterations, np.median(errors, axis=0), strict=True)),
        "errors": errors,
        "median": np.median(errors, axis=0),
        "final": np.sort(errors[:, -1]),
        "majority": np.median([run["observations"][-1]["error_majority"] for run in runs]) * 100,
        "lower_bound": float(np.mean([run["lower_bound"] for run in runs])),
        "information": float(np.mean([run["observations"][-1]["information"] for run in runs])),
        "stability": float(np.mean([run["stability"] for run in runs])),
        "seconds": float(np.mean([run["seconds"] for run in runs])),
        "quality": _mean([run["quality"] for run in runs]),
    }


def _mean(tables: list[Mapping[str, float]]) -> dict[str, float]:
    """Of the numbers that all of them have."""
    shared = [name for name in tables[0] if all(name in each for each in tables)]
    return {name: float(np.mean([each[name] for each in tables])) for name in shared}
