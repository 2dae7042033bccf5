"""fit, and the baseline it is compared with."""

from kedro.pipeline import Pipeline, node

from infogan.pipelines.training.nodes import fit, fit_baseline

_INPUTS = ["images", "card", "checkpoints", "params:model", "params:training"]
_OUTPUTS = ["model", "history", "record", "more_models", "more_histories", "more_records"]


def create_pipeline(*, baseline: bool) -> Pipeline:
    """Images to weights, history and record; twice, if there is a baseline."""
    nodes = [node(fit, _INPUTS, _OUTPUTS, name="fit")]
    if baseline:
        outputs = ["baseline", "baseline_history", "baseline_record"]
        nodes.append(node(fit_baseline, _INPUTS, outputs, name="fit_baseline"))
    return Pipeline(nodes)
