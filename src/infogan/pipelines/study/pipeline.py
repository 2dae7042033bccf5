"""run_study, and what it says."""

from kedro.pipeline import Pipeline, node

from infogan.pipelines.study.nodes import draw_study, run_study, write_study


def create_pipeline() -> Pipeline:
    """Images and labels to a table of runs, a figure and a page."""
    return Pipeline(
        [
            node(
                run_study,
                [
                    "images",
                    "labels",
                    "card",
                    "study",
                    "params:model",
                    "params:training",
                    "params:study",
                ],
                "study_runs",
                name="run_study",
            ),
            node(
                draw_study, ["study_runs", "params:reporting"], "study_figures", name="draw_study"
            ),
            node(
                write_study,
                ["study_runs", "card", "params:study", "params:reporting"],
                "study_page",
                name="write_study",
            ),
        ]
    )
