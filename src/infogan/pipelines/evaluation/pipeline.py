"""measure, classify where there are labels, traverse, and one table of all numbers."""

from kedro.pipeline import Node, Pipeline, node

from infogan.pipelines.evaluation.nodes import (
    add_baseline,
    classify,
    classify_baseline,
    classify_references,
    measure,
    summarise,
    traverse,
)

_OPTIONS = ["params:model", "params:evaluation"]


def create_pipeline(*, labelled: bool, baseline: bool) -> Pipeline:
    """Models and data to metrics, categories and traversals."""
    nodes: list[Node] = [
        node(measure, ["model", "images", "card", *_OPTIONS], "information", name="measure"),
        node(traverse, ["model", "card", *_OPTIONS], "traversals", name="traverse"),
    ]
    numbers = ["information"]
    if labelled:
        data = ["images", "labels", "card"]
        nodes += [
            node(
                classify,
                ["model", *data, *_OPTIONS],
                ["classification", "categories"],
                name="classify",
            ),
            node(
                classify_references,
                ["images", "labels", *_OPTIONS],
                "reference_errors",
                name="classify_references",
            ),
        ]
        numbers += ["classification", "reference_errors"]
        if baseline:
            nodes.append(
                node(
                    classify_baseline,
                    ["baseline", *data, *_OPTIONS],
                    "baseline_errors",
                    name="classify_baseline",
                )
            )
            numbers.append("baseline_errors")
    if baseline:
        nodes += [
            node(
                measure,
                ["baseline", "images", "card", *_OPTIONS],
                "baseline_information",
                name="measure_baseline",
            ),
            node(
                traverse,
                ["baseline", "card", *_OPTIONS],
                "baseline_traversals",
                name="traverse_baseline",
            ),
            node(
                add_baseline,
                ["own_metrics", "baseline_record", "baseline_information"],
                "metrics",
                name="add_baseline",
            ),
        ]
    summary = "own_metrics" if baseline else "metrics"
    nodes.append(node(summarise, ["record", "model", *numbers], summary, name="summarise"))
    return Pipeline(nodes)
