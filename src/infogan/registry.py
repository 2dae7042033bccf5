"""The model of a tracked run in MLflow's registry: what it carries, and which one is ``best``.

A model holds its weights, the categories' classes, and a copy of the few modules that use it, in
a package named by their content. So it is loaded without this project, whatever project is
installed, and models of different ages keep apart within one process. Nothing is pickled.
"""

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

CARRIED = (
    "errors",
    "files",
    "options",
    "parallel",
    "preprocessing",
    "schedules",
    "seeds",
    "codes",
    "networks",
    "datasets/decoding",
    "trained",
    "served",
)
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "torch", "tqdm")
MAX_IMAGES = 1000  # a call; load_model(…, model_config={"max_images": …}) changes it
BEST = "best"  # MLflow keeps "latest" itself: models:/NAME/latest

_PARAMETERS = ("model.codes", "training.iterations", "training.seeds")  # on the model's page
_VERSIONS = "mlflow.modelVersions"  # of a logged model
_SCORE, _SCORE_OF, _TEST = "score", "score_of", "test_sha256"  # tags of a version


@dataclass(frozen=True)
class Candidate:
    """A trained and evaluated model."""

    name: str  # in the registry
    dataset: str
    weights: Path
    categories: Mapping[str, Any]  # and what else ``Trained`` knows beside the weights
    metrics: Mapping[str, float]
    test_sha256: str  # of the images it was evaluated on
    competes: bool  # for best: not where the networks are tiny or the data a part
    words: str = ""  # what a person shall read beside its version


def score(metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """What makes one model better than another, and how good this one is: the larger, the better.

    1. With labels: the one-to-one error, which shall be small.
    2. Without: the share of H(c) that Q's categories tell of real images, of all categorical
       codes. L_I itself says little, since it comes near H(c) wherever training succeeds.
    3. Without categorical codes: L_I of all codes, which with sigma fixed is a squared error, and
       not to be compared with one whose sigma is learned.
    """
    if "error_one_to_one" in metrics:
        return "error_one_to_one", -metrics["error_one_to_one"]
    told = {
        name.removeprefix("information_real."): value
        for name, value in metrics.items()
        if name.startswith("information_real.")
    }
    if told:
        return "information_real / entropy", sum(told.values()) / sum(
            metrics[f"entropy.{code}"] for code in told
        )
    bounds = [value for name, value in metrics.items() if name.startswith("lower_bound.")]
    fixed = any(name.startswith("perfect.") for name in metrics)
    what = "lower_bound, sigma fixed" if fixed else "lower_bound, sigma learned"
    return (what, sum(bounds)) if bounds else None


def publish(client: "MlflowClient", run_id: str, candidate: Candidate) -> str:
    """Log and register the model of a run, once, and say anew which version is best.

    A run that is evaluated again keeps its version, with the new score. Gives the version.
    """
    found = client.search_model_versions(f"name='{candidate.name}' and run_id='{run_id}'")
    number = str(found[0].version) if found else _register(client, run_id, candidate)
    client.update_model_version(candidate.name, number, candidate.words)
    what = score(candidate.metrics) if candidate.competes else None
    if what:
        tags = {_SCORE_OF: what[0], _SCORE: repr(what[1]), _TEST: candidate.test_sha256}
        for name, value in tags.items():
            client.set_model_version_tag(candidate.name, number, name, value)
        best = _best(client.search_model_versions(f"name='{candidate.name}'"), tags)
        if best is not None:
            client.set_registered_model_alias(candidate.name, BEST, best)
    return number


def _best(versions: "list[ModelVersion]", like: Mapping[str, str]) -> str | None:
    """The best of those judged by the same number on the same images; of equals the newest.

    A score that is not finite wins nothing: NaN is neither larger nor smaller than another.
    """
    rivals = [
        each
        for each in versions
        if all(each.tags.get(name) == like[name] for name in (_SCORE_OF, _TEST))
        and math.isfinite(float(each.tags[_SCORE]))
    ]
    best = max(
        rivals,
        key=lambda each: (float(each.tags[_SCORE]), int(each.version)),
        default=None,
    )
    return None if best is None else str(best.version)


def _register(client: "MlflowClient", run_id: str, candidate: Candidate) -> str:
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id,
        "infogan",
        source_run_id=run_id,
        model_type="infogan",
        params={name: run.data.params[name] for name in _PARAMETERS if name in run.data.params},
    )
    with TemporaryDirectory() as folder:
        path = Path(folder, "model")
        save(path, candidate, run_id=run_id, model_id=logged.model_id)
        client.log_model_artifacts(logged.model_id, str(path))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    try:
        client.create_registered_model(candidate.name, description=_about(candidate))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    registered = client.create_model_version(
        candidate.name, logged.artifact_location, run_id=run_id, model_id=logged.model_id
    )
    # So that the pages of the model itself know of it.
    version = {"name": candidate.name, "version": str(registered.version)}
    client.set_logged_model_tags(logged.model_id, {_VERSIONS: json.dumps([version])})
    return str(registered.version)


def _about(candidate: Candidate) -> str:
    model = f"models:/{candidate.name}/latest"
    return (
        f"InfoGAN on {candidate.dataset}: reads codes in images, and makes images of codes.\n\n"
        f"* `infogan generate --model {model} --count 5 --out grid.png`\n"
        f"* `infogan encode --model {model} IMAGE … --out codes.csv`\n\n"
        f"`models:/{candidate.name}@{BEST}` is the best one by score_of on the same images."
    )


def save(path: Path, candidate: Candidate, **identity: str) -> None:
    """A folder in MLflow's model format; ``identity`` are the ids of run and model."""
    import sys

    import mlflow.pyfunc
    from mlflow.models import Model

    from infogan.trained import Trained

    known = ("code", "class_of_category", "class_names", "tells", "transforms")
    matched = {name: candidate.categories[name] for name in known if name in candidate.categories}
    trained = Trained.load(candidate.weights, matched)
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    with TemporaryDirectory() as folder:
        package = carry(Path(folder))
        script = Path(folder, "model.py")
        script.write_text(
            f"from mlflow.models import set_model\n\n"
            f"from {package.name}.served import Served\n\n"
            f"set_model(Served())\n"
        )
        categories = Path(folder, "categories.json")
        categories.write_text(json.dumps(matched))
        sys.path.insert(0, folder)  # MLflow runs the script before it has copied the package
        try:
            mlflow.pyfunc.save_model(
                path=str(path),
                mlflow_model=Model(**identity),
                python_model=str(script),
                code_paths=[str(package)],
                artifacts={"model": str(candidate.weights), "categories": str(categories)},
                model_config={"max_images": MAX_IMAGES},
                signature=_signature(trained),
                input_example=_example(trained),
                pip_requirements=requirements(),
                metadata={
                    "dataset": candidate.dataset,
                    "image_shape": list(trained.shape),
                    "codes": [str(code) for code in trained.model.codes],
                    "settable": trained.describe(),
                },
            )
        finally:
            sys.path.remove(folder)


def carry(folder: Path) -> Path:
    """A copy of the modules that use a model, as a package of their own below ``folder``."""
    here = Path(__file__).parent
    texts = {name: (here / f"{name}.py").read_text() for name in CARRIED}
    content = "".join(texts[name] for name in CARRIED).encode()
    package = folder / f"infogan_{hashlib.sha256(content).hexdigest()[:12]}"
    for name, text in texts.items():
        target = package / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            re.sub(r"^(from|import) infogan\b", rf"\1 {package.name}", text, flags=re.M)
        )
        (target.parent / "__init__.py").touch()
    return package


def requirements() -> list[str]:
    """What loading needs, in the versions at hand; of torch not which build, that differs."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _signature(trained: Any) -> "ModelSignature":
    """Parameters, and the columns of encode.

    Inputs stay open: MLflow's schemas know arrays or frames, not either, and would answer a wrong
    one with a page of its own words; the model checks all of it.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    columns = trained.encode(np.zeros((1, *trained.shape), np.float32))
    kinds = {
        name: "double" if np.issubdtype(each.dtype, np.floating) else "long"
        for name, each in columns.items()
    }
    if "class_names" in trained.matched:
        kinds["class"] = "string"
    return ModelSignature(
        outputs=Schema(
            [ColSpec(kind, name, required=name != "class") for name, kind in kinds.items()]
        ),
        params=ParamSchema(
            [
                ParamSpec("task", "string", "encode"),
                ParamSpec("seed", "long", 0),
                ParamSpec("count", "long", 1),
            ]
        ),
    )


def _example(trained: Any) -> tuple[Any, dict[str, Any]]:
    """Two images to encode: two that the model makes itself."""
    images = trained.generate([{}], 2, 0)
    return images, {"task": "encode"}
