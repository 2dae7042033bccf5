"""Every dataset is an instance of the same four stages."""

from kedro.pipeline import Pipeline

from infogan.pipelines.evaluation.pipeline import create_pipeline as evaluation
from infogan.pipelines.ingestion.pipeline import create_pipeline as ingestion
from infogan.pipelines.reporting.pipeline import create_pipeline as reporting
from infogan.pipelines.study.pipeline import create_pipeline as study
from infogan.pipelines.training.pipeline import create_pipeline as training

# The paper's five, a person's own images, and one that needs no download. What differs between
# them stands in their parameters and readers.
DATASETS = ("digits", "mnist", "svhn", "celeba", "faces", "chairs", "folder")
DEFAULT = "digits"
STUDIED = ("digits", "mnist", "svhn")  # whose recipes are compared, by a pipeline of their own


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines by name: each data set's, its stages' and studies', and the default.

    ``<dataset>``, ``<dataset>.<stage>``, ``<dataset>.study``; the default needs no download.
    """
    generic = {
        "ingestion": ingestion(),
        "training": training(baseline=True),
        "evaluation": evaluation(),
        "reporting": reporting(),
    }
    pipelines: dict[str, Pipeline] = {}
    for dataset in DATASETS:
        stages = {
            f"{dataset}.{stage}": Pipeline(pipeline, namespace=dataset, tags=[stage])
            for stage, pipeline in generic.items()
        }
        pipelines |= stages
        pipelines[dataset] = sum(stages.values(), Pipeline([]))
    for dataset in STUDIED:
        whole = Pipeline(study(), namespace=dataset, tags=["study"])
        pipelines[f"{dataset}.study"] = pipelines[f"{dataset}.ingestion"] + whole
    pipelines["__default__"] = pipelines[DEFAULT]
    return pipelines
