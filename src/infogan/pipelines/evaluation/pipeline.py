"""measure, classify, judge, explain, traverse, and one table of all numbers."""

from kedro.pipeline import Pipeline, node

from infogan.pipelines.evaluation.nodes import (
    classify,
    classify_baseline,
    classify_references,
    compare_seeds,
    complete,
    explain,
    judge_images,
    measure,
    summarise,
    traverse,
)

_OPTIONS = ["params:model", "params:evaluation"]
_LABELLED = ["images", "labels", "card", *_OPTIONS]


def create_pipeline() -> Pipeline:
    """Models and data to metrics, categories, associations and traversals.

    What cannot be had, without labels, known factors or a regular GAN, is left empty.
    """
    return Pipeline(
        [
            node(measure, ["model", "images", "card", *_OPTIONS], "information", name="measure"),
            node(
                classify,
                ["model", *_LABELLED],
                ["classification", "categories"],
                name="classify",
            ),
            node(
                classify_baseline,
                ["baseline", *_LABELLED],
                "baseline_errors",
                name="classify_baseline",
            ),
            node(
                classify_references,
                ["images", "labels", *_OPTIONS],
                "reference_errors",
                name="classify_references",
            ),
            node(
                judge_images,
                ["model", "more_models", *_LABELLED],
                ["generation", "more_generation"],
                name="judge_images",
            ),
            node(
                explain,
                ["model", "images", "factors", "card", *_OPTIONS],
                ["explanation", "known_factors"],
                name="explain",
            ),
            node(traverse, ["model", "card", *_OPTIONS], "traversals", name="traverse"),
            node(
                traverse,
                ["baseline", "card", *_OPTIONS],
                "baseline_traversals",
                name="traverse_baseline",
            ),
            node(
                measure,
                ["baseline", "images", "card", *_OPTIONS],
                "baseline_information",
                name="measure_baseline",
            ),
            node(
                summarise,
                [
                    "record",
                    "model",
                    "information",
                    "classification",
                    "reference_errors",
                    "baseline_errors",
                    "explanation",
                    "generation",
                ],
                "own_metrics",
                name="summarise",
            ),
            node(
                compare_seeds,
                [
                    "own_metrics",
                    "more_models",
                    "more_records",
                    "more_generation",
                    "images",
                    "labels",
                    "factors",
                    "card",
                    *_OPTIONS,
                ],
                ["seed_metrics", "seed_summary"],
                name="compare_seeds",
            ),
            node(
                complete,
                ["own_metrics", "seed_summary", "baseline_record", "baseline_information"],
                "metrics",
                name="complete",
            ),
        ]
    )
