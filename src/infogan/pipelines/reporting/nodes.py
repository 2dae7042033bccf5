"""From numbers and images to figures and a page."""

from typing import TYPE_CHECKING, Any

from infogan.datasets.values import Rows, Weights
from infogan.options import (
    CategoricalPrior,
    Evaluation,
    Model,
    Options,
    Reporting,
    Training,
    flatten,
)

if TYPE_CHECKING:  # for private functions only: the signatures of nodes must resolve at run time
    from matplotlib.figure import Figure


def draw_curve(history: Rows, model: Model, reporting: Reporting) -> dict[str, Any]:
    """Figure 1 without a baseline."""
    from infogan.figures import mutual_information

    return {"mutual_information": mutual_information(history, None, model, reporting.dpi)}


def draw_curves(
    history: Rows, baseline: Rows, model: Model, reporting: Reporting
) -> dict[str, Any]:
    """Figure 1: both models."""
    from infogan.figures import mutual_information

    return {"mutual_information": mutual_information(history, baseline, model, reporting.dpi)}


def draw_panels(traversals: Weights, model: Model, reporting: Reporting) -> dict[str, Any]:
    """A traversal of every code and a sheet of samples, without classes to order by."""
    return _panels("traversal", traversals, model, reporting, None) | _samples(
        traversals, reporting
    )


def draw_ordered_panels(
    traversals: Weights, categories: dict[str, Any], model: Model, reporting: Reporting
) -> dict[str, Any]:
    """The same with the columns of the classifying code in the order of its classes, and the
    confusion of categories with classes.
    """
    from infogan.figures import confusion

    return (
        _panels("traversal", traversals, model, reporting, categories)
        | _samples(traversals, reporting)
        | {"confusion": confusion(categories, reporting.dpi)}
    )


def draw_baseline_panels(
    traversals: Weights, model: Model, reporting: Reporting
) -> dict[str, Any]:
    """A traversal of every code of the regular GAN: Figure 2 (b)."""
    return _panels("traversal_baseline", traversals, model, reporting, None)


def collect_figures(*groups: dict[str, Any]) -> dict[str, Any]:
    """All figures of a dataset, saved together."""
    return {name: figure for group in groups for name, figure in group.items()}


def write_report(
    figures: dict[str, bytes],
    metrics: dict[str, float],
    record: dict[str, Any],
    card: dict[str, Any],
    model: Model,
    training: Training,
    evaluation: Evaluation,
    reporting: Reporting,
) -> str:
    """The page that says what was run and what was found."""
    from infogan.report import page

    facts = {
        "trained from": record["started"],
        "commit": record["commit"],
        "MLflow run": record["mlflow_run_id"] or "not tracked",
        "device": f"{record['device']}, {record['threads']} threads",
        "training time": f"{record['seconds']:.0f} s for {record['iterations']} iterations",
        "seed": training.seed,
        "images": "; ".join(
            f"{split} {each['images']:,} (from {each['from']}, sha256 {each['sha256']})"
            for split, each in card["splits"].items()
        ),
        **{f"raw file {name}": f"sha256 {digest}" for name, digest in card["source"].items()},
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    }
    blocks: dict[str, Options] = {"model": model, "training": training, "evaluation": evaluation}
    parameters = {
        name: value
        for prefix, block in blocks.items()
        for name, value in flatten(block, prefix).items()
    }
    return page(reporting, metrics, figures, facts, parameters)


def _panels(
    prefix: str,
    traversals: Weights,
    model: Model,
    reporting: Reporting,
    categories: dict[str, Any] | None,
) -> "dict[str, Figure]":
    from infogan.figures import traversal

    drawn = {}
    for panel, values in traversals.card["values"].items():
        code = next(c for c in model.codes if panel == c.name or panel.startswith(f"{c.name}_"))
        ordered = categories is not None and code.name == categories["code"]
        order = categories["class_of_category"] if categories and ordered else None
        assert order is None or isinstance(code, CategoricalPrior)
        drawn[f"{prefix}_{panel}"] = traversal(
            traversals.arrays[panel], values, code, order, reporting.dpi
        )
    return drawn


def _samples(traversals: Weights, reporting: Reporting) -> "dict[str, Figure]":
    from infogan.figures import samples

    return {"samples": samples(traversals.arrays["samples"], 10, reporting.dpi)}
