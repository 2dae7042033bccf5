"""Every dataset is an instance of the same four stages."""

from dataclasses import dataclass

from kedro.pipeline import Pipeline

from infogan.pipelines.evaluation.pipeline import create_pipeline as evaluation
from infogan.pipelines.ingestion.pipeline import create_pipeline as ingestion
from infogan.pipelines.reporting.pipeline import create_pipeline as reporting
from infogan.pipelines.training.pipeline import create_pipeline as training


@dataclass(frozen=True)
class Traits:
    """The two things that exist for some datasets only."""

    labelled: bool  # classes to judge categories by
    baseline: bool  # the regular GAN of Figure 1


DATASETS = {
    "digits": Traits(labelled=True, baseline=True),
    "mnist": Traits(labelled=True, baseline=True),
}
DEFAULT = "digits"


def _stages(traits: Traits) -> dict[str, Pipeline]:
    labelled, baseline = traits.labelled, traits.baseline
    return {
        "ingestion": ingestion(),
        "training": training(baseline=baseline),
        "evaluation": evaluation(labelled=labelled, baseline=baseline),
        "reporting": reporting(labelled=labelled, baseline=baseline),
    }


def register_pipelines() -> dict[str, Pipeline]:
    """``<dataset>``, ``<dataset>.<stage>``, and the default that needs no download."""
    pipelines: dict[str, Pipeline] = {}
    for dataset, traits in DATASETS.items():
        stages = {
            f"{dataset}.{stage}": Pipeline(pipeline, namespace=dataset, tags=[stage])
            for stage, pipeline in _stages(traits).items()
        }
        pipelines |= stages
        pipelines[dataset] = sum(stages.values(), Pipeline([]))
    pipelines["__default__"] = pipelines[DEFAULT]
    return pipelines
