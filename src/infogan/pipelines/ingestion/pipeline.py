"""fetch -> preprocess -> describe."""

from kedro.pipeline import Pipeline, node

from infogan.pipelines.ingestion.nodes import describe, fetch, preprocess


def create_pipeline() -> Pipeline:
    """Raw files to arrays, their labels, and a card."""
    return Pipeline(
        [
            node(fetch, "params:source", "raw", name="fetch"),
            node(preprocess, ["raw", "params:data"], ["images", "labels"], name="preprocess"),
            node(describe, ["images", "params:source", "params:data"], "card", name="describe"),
        ]
    )
