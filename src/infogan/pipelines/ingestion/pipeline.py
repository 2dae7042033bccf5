"""fetch, preprocess, describe."""

from kedro.pipeline import Pipeline, node

from infogan.pipelines.ingestion.nodes import describe, fetch, preprocess


def create_pipeline() -> Pipeline:
    """Raw files to images, labels, known factors, and a card."""
    return Pipeline(
        [
            node(fetch, "params:source", "raw", name="fetch"),
            node(
                preprocess,
                ["raw", "workspace", "params:source", "params:data"],
                ["images", "labels", "factors", "rejected", "facts"],
                name="preprocess",
            ),
            node(describe, ["images", "facts", "params:data"], "card", name="describe"),
        ]
    )
