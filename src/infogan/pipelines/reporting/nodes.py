"""From numbers and images to figures and a page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from infogan.datasets.values import Rows, Weights
from infogan.errors import UserError
from infogan.options import (
    Evaluation,
    Model,
    Options,
    Reporting,
    Training,
    extensions,
    flatten,
)

if TYPE_CHECKING:  # for private functions only: the signatures of nodes must resolve at run time
    from matplotlib.figure import Figure


def draw_curves(
    history: Rows, baseline: Rows, model: Model, reporting: Reporting
) -> dict[str, Any]:
    """Figure 1: both models, or InfoGAN alone if no regular GAN was trained."""
    from infogan.figures import mutual_information

    trained = baseline if len(baseline.rows) > 1 else None  # row 0 is the untrained model
    return {"mutual_information": mutual_information(history, trained, model, reporting.dpi)}


def draw_panels(
    traversals: Weights, categories: dict[str, Any], model: Model, reporting: Reporting
) -> dict[str, Any]:
    """A traversal of every code, a sheet of samples and, where categories were matched to classes,
    their confusion; the columns of the matched code are in the order of its classes, unless the
    user gave them another.
    """
    from infogan.figures import confusion, samples

    orders = reporting.column_order
    drawn = _panels("traversal", traversals, model, reporting.dpi, categories, orders)
    drawn["samples"] = samples(traversals.arrays["samples"], 10, reporting.dpi)
    if categories:
        drawn["confusion"] = confusion(categories, reporting.dpi)
    return drawn


def draw_baseline_panels(
    traversals: Weights, model: Model, reporting: Reporting
) -> dict[str, Any]:
    """A traversal of every code of the regular GAN, if one was trained: Figure 2 (b)."""
    return _panels("traversal_baseline", traversals, model, reporting.dpi, {}, {})


def draw_known_factors(known_factors: dict[str, Any], reporting: Reporting) -> dict[str, Any]:
    """Codes against the factors of variation that are known, if any are."""
    from infogan.figures import associations
    from infogan.report import check_known_factors

    if not known_factors:
        return {}
    check_known_factors(known_factors)
    return {"known_factors": associations(known_factors, reporting.dpi)}


def collect_figures(*groups: dict[str, Any]) -> dict[str, Any]:
    """All figures of a dataset, saved together."""
    return {name: figure for group in groups for name, figure in group.items()}


def write_report(
    figures: dict[str, bytes],
    metrics: dict[str, float],
    known_factors: dict[str, Any],
    record: dict[str, Any],
    baseline_record: dict[str, Any],
    weights: Weights,
    card: dict[str, Any],
    training: Training,
    evaluation: Evaluation,
    reporting: Reporting,
) -> str:
    """The page that says what was run and what was found; UserError if these are of two runs."""
    from infogan.report import all_alarms, page, titled

    _refuse_two_runs(metrics, record, card)
    # As the model was trained, whatever the parameters say now.
    model = Model.model_validate(weights.card["model"])
    trained = {**weights.card["training"], "seeds": training.seeds}
    training = Training.model_validate(trained)
    facts = {
        "trained from": record["started"],
        **({"trained by": record["command"]} if "command" in record else {}),
        "commit": record["commit"],
        "MLflow run": record["mlflow_run_id"] or "not tracked",
        "device": f"{record['device']}, {record['threads']} threads",
        "training time": f"{record['seconds']:.0f} s for {record['iterations']} iterations",
        "seed": ", ".join(map(str, training.seeds)),
        **_partial(card),
        "images": "; ".join(
            f"{split} {each['images']:,} (from {each['from']}, sha256 {each['sha256']})"
            for split, each in card["splits"].items()
        ),
        **{
            f"raw {name}": identity if isinstance(identity, str) else ", ".join(identity)
            for name, identity in card["source"].items()
        },
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    }
    blocks: dict[str, Options] = {"model": model, "training": training, "evaluation": evaluation}
    parameters = {
        name: value
        for prefix, block in blocks.items()
        for name, value in flatten(block, prefix).items()
    }
    title = titled(reporting, card)
    told = all_alarms(record, baseline_record).values(), extensions(model, training)
    return page(reporting, title, metrics, known_factors, figures, facts, parameters, *told)


def _refuse_two_runs(
    metrics: Mapping[str, float], record: Mapping[str, Any], card: Mapping[str, Any]
) -> None:
    if record["data_sha256"] != card["splits"]["train"]["sha256"]:
        raise UserError(
            "The model was trained on other images than those that are now there: train and "
            "evaluate it again before its report is written."
        )
    evaluated = {name: metrics[name] for name in ("iterations", "seconds_training")}
    if evaluated != {"iterations": record["iterations"], "seconds_training": record["seconds"]}:
        raise UserError(
            "The model was trained again since it was evaluated: evaluate it again before its "
            "report is written."
        )


def _partial(card: dict[str, Any]) -> dict[str, str]:
    facts = {}
    if "partial" in card:
        images, whole = card["partial"]["images"], card["partial"]["of"]
        facts["partial"] = f"{images:,} of {whole:,} images"
    if "rejected" in card:
        facts["rejected"] = f"{card['rejected']:,} images could not be used (rejected.csv)"
    return facts


def _panels(
    prefix: str,
    traversals: Weights,
    model: Model,
    dpi: int,
    categories: Mapping[str, Any],
    orders: Mapping[str, Sequence[int]],
) -> "dict[str, Figure]":
    from infogan.figures import traversal

    drawn = {}
    for panel, values in traversals.card["values"].items():
        code = next(c for c in model.codes if panel == c.name or panel.startswith(f"{c.name}_"))
        matched = categories.get("code") == code.name
        classes = categories["class_of_category"] if matched else None
        drawn[f"{prefix}_{panel}"] = traversal(
            traversals.arrays[panel],
            values,
            code,
            classes,
            dpi,
            orders.get(code.name),
            panel,
            categories.get("class_names"),
        )
    return drawn
