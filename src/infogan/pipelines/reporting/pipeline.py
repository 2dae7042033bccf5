"""Figures, then the page that holds them."""

from kedro.pipeline import Pipeline, node

from infogan.pipelines.reporting.nodes import (
    collect_figures,
    draw_baseline_panels,
    draw_curves,
    draw_known_factors,
    draw_panels,
    write_report,
)

_OPTIONS = ["params:model", "params:reporting"]


def create_pipeline() -> Pipeline:
    """Histories, metrics, associations and traversals to figures and a report."""
    return Pipeline(
        [
            node(
                draw_curves,
                ["history", "baseline_history", *_OPTIONS],
                "curves",
                name="draw_curves",
            ),
            node(
                draw_panels,
                ["traversals", "categories", *_OPTIONS],
                "panels",
                name="draw_panels",
            ),
            node(
                draw_baseline_panels,
                ["baseline_traversals", *_OPTIONS],
                "baseline_panels",
                name="draw_baseline_panels",
            ),
            node(
                draw_known_factors,
                ["known_factors", "params:reporting"],
                "factor_panels",
                name="draw_known_factors",
            ),
            node(
                collect_figures,
                ["curves", "panels", "baseline_panels", "factor_panels"],
                "figures",
                name="collect_figures",
            ),
            node(
                write_report,
                [
                    "figures",
                    "metrics",
                    "known_factors",
                    "record",
                    "baseline_record",
                    "model",
                    "card",
                    "params:training",
                    "params:evaluation",
                    "params:reporting",
                ],
                "report",
                name="write_report",
            ),
        ]
    )
