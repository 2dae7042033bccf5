"""Figures, then the page that holds them."""

from kedro.pipeline import Node, Pipeline, node

from infogan.pipelines.reporting.nodes import (
    collect_figures,
    draw_baseline_panels,
    draw_curve,
    draw_curves,
    draw_ordered_panels,
    draw_panels,
    write_report,
)

_OPTIONS = ["params:model", "params:reporting"]


def create_pipeline(*, labelled: bool, baseline: bool) -> Pipeline:
    """Histories, metrics and traversals to figures and a report."""
    groups = ["curves", "panels"]
    nodes: list[Node] = [
        node(draw_curves, ["history", "baseline_history", *_OPTIONS], "curves", name="draw_curves")
        if baseline
        else node(draw_curve, ["history", *_OPTIONS], "curves", name="draw_curves"),
        node(
            draw_ordered_panels,
            ["traversals", "categories", *_OPTIONS],
            "panels",
            name="draw_panels",
        )
        if labelled
        else node(draw_panels, ["traversals", *_OPTIONS], "panels", name="draw_panels"),
    ]
    if baseline:
        nodes.append(
            node(
                draw_baseline_panels,
                ["baseline_traversals", *_OPTIONS],
                "baseline_panels",
                name="draw_baseline_panels",
            )
        )
        groups.append("baseline_panels")
    return Pipeline(
        [
            *nodes,
            node(collect_figures, groups, "figures", name="collect_figures"),
            node(
                write_report,
                [
                    "figures",
                    "metrics",
                    "record",
                    "card",
                    "params:model",
                    "params:training",
                    "params:evaluation",
                    "params:reporting",
                ],
                "report",
                name="write_report",
            ),
        ]
    )
