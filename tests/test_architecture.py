"""The rules of the house, checked: who imports whom, what a command loads, how nodes look."""

import ast
import functools
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from kedro.pipeline import Pipeline

from infogan.options import _TRAINS, Options
from infogan.pipeline_registry import DATASETS, register_pipelines

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "infogan"
HEAVY = (
    "torch",
    "torchvision",
    "mlflow",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "safetensors",
    "PIL",
    "vtkmodules",
    "h5py",
    "torchmetrics",
    "torch_fidelity",
)

# What each module of the library may import from this package.
LIBRARY = {
    "errors": set(),
    "files": set(),
    "interrupts": set(),
    "consistency": {"batches", "options", "schedules"},
    "options": {"errors", "schedules"},
    "alarms": {"errors", "options"},
    "batches": {"seeds"},
    "checkpoint": {"files"},
    "choice": {"errors", "information"},
    "devices": {"errors", "options"},
    "distributed": {"batches", "networks", "training"},
    "seeds": set(),
    "clustering": {
        "batches",
        "codes",
        "consistency",
        "errors",
        "networks",
        "options",
        "seeds",
    },
    "codes": {"options"},
    "networks": {"errors", "options"},
    "index": {"options", "report"},
    "information": {"codes", "networks"},
    "schedules": set(),
    "training": {
        "batches",
        "clustering",
        "codes",
        "consistency",
        "networks",
        "options",
        "schedules",
        "seeds",
    },
    "disentanglement": set(),
    "evaluation": {"codes", "disentanglement", "networks"},
    "figures": {"datasets.values", "options"},
    "furniture": {"rendering"},
    "launcher": {"batches", "distributed", "errors", "options", "parallel"},
    "morphable": {"errors"},
    "parallel": {"errors"},
    "profiling": {"files"},
    "inception": {"errors", "files"},
    "quality": {"codes", "errors", "evaluation", "networks", "seeds"},
    "preprocessing": {"errors", "files", "options", "parallel"},
    "rendering": {"errors"},
    "report": {"errors", "options"},
    "sources": {"errors", "files", "options"},
    "study": {
        "choice",
        "codes",
        "consistency",
        "disentanglement",
        "errors",
        "evaluation",
        "information",
        "networks",
        "options",
    },
    "traversals": {"codes", "networks"},
    "trained": {
        "codes",
        "datasets.decoding",
        "errors",
        "networks",
        "options",
        "preprocessing",
        "seeds",
    },
}
KEDRO_HALF = {
    "registry": {"trained"},
    "served": {"errors", "trained"},
    "comparison": {"errors", "tracking"},
    "commands": {
        "cli",
        "comparison",
        "datasets.values",
        "errors",
        "explorer.app",
        "files",
        "tracking",
        "trained",
    },
    "explorer.app": {"comparison", "errors", "trained"},
    "tracking": {"errors", "files", "registry"},
    "browsing": {"options", "report", "tracking"},
    "continuation": {"checkpoint", "files", "options"},
    "provenance": set(),
    "summary": {"browsing", "errors", "files", "index", "options", "provenance", "report"},
    "guards": {
        "continuation",
        "errors",
        "launcher",
        "options",
        "inception",
        "provenance",
        "summary",
    },
    "hooks": {
        "browsing",
        "continuation",
        "datasets.values",
        "errors",
        "launcher",
        "options",
        "provenance",
        "registry",
        "report",
        "tracking",
    },
    "settings": {"guards", "hooks"},
    "cli": {"errors"},
    "__init__": set(),
    "__main__": {"commands"},
    "pipelines.__init__": set(),
    "pipeline_registry": {
        f"pipelines.{stage}.pipeline"
        for stage in ("ingestion", "training", "evaluation", "reporting", "study")
    },
}
DATASET_MODULES = {
    "errors",
    "files",
    "options",
    "sources",
    "datasets.archives",
    "datasets.decoding",
    "datasets.raw",
    "datasets.values",
    "datasets.weights",
}
RENDERED = {
    "furniture",
    "morphable",
    "parallel",
    "rendering",
}  # what readers that render use, inside functions
NODES_AT_TOP = {"options", "datasets.values", "errors", "tracking"}
STUDY = {
    "browsing",
    "files",
    "pipelines.training.nodes",
}  # what a study is made of: trainings, kept one by one


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module, and whether it is imported when the file itself is."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.dump(outer.test)
        for inner in ast.walk(outer)
    }
    inside = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef)
        for inner in ast.walk(outer)
    }
    for found in ast.walk(tree):
        if id(found) in typing_only:
            continue
        if isinstance(found, ast.Import):
            for alias in found.names:
                yield alias.name, id(found) not in inside
        elif isinstance(found, ast.ImportFrom):
            assert found.level == 0, f"{path}: imports are absolute"
            for alias in found.names:
                whole = f"{found.module}.{alias.name}"
                is_module = (ROOT / "src" / Path(*whole.split("."))).with_suffix(".py").exists()
                yield whole if is_module else str(found.module), id(found) not in inside


def own(names: Iterator[tuple[str, bool]], *, top_only: bool = False) -> set[str]:
    return {
        name.removeprefix("infogan.")
        for name, at_top in names
        if name.startswith("infogan.") and (at_top or not top_only)
    }


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_what_its_place_allows(path: Path) -> None:
    name = module_name(path)
    used = own(imports(path))
    if name in LIBRARY | KEDRO_HALF:
        assert used <= (LIBRARY | KEDRO_HALF)[name]
    elif name == "datasets.__init__":
        assert all(module.startswith("datasets.") for module in used)
    elif name.startswith("datasets."):
        assert own(imports(path), top_only=True) <= DATASET_MODULES
        assert used <= DATASET_MODULES | RENDERED
    elif name.endswith(".nodes"):
        allowed = NODES_AT_TOP | (STUDY if name == "pipelines.study.nodes" else set())
        assert own(imports(path), top_only=True) <= allowed
        assert used <= allowed | set(LIBRARY)
    elif name.endswith(".pipeline"):
        assert used == {name.removesuffix("pipeline") + "nodes"}
    else:
        assert name.endswith("__init__"), f"{name} has no place in the house: give it one here"
        assert not used


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_the_library_has_never_heard_of_kedro_or_mlflow(name: str) -> None:
    roots = {module.partition(".")[0] for module, _ in imports(PACKAGE / f"{name}.py")}
    assert not roots & {"kedro", "kedro_datasets", "mlflow", "dvc"}


def test_only_what_tracks_serves_or_compares_imports_mlflow() -> None:
    users = {
        module_name(path)
        for path in MODULES
        if any(module.partition(".")[0] == "mlflow" for module, _ in imports(path))
    }
    assert users == {"comparison", "registry", "served", "tracking"}


def test_the_registry_and_the_settings_load_no_heavy_library() -> None:
    code = (
        "import sys, infogan.settings, infogan.cli, infogan.commands, infogan.datasets\n"
        "from infogan.pipeline_registry import register_pipelines\n"
        "register_pipelines()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


registered = functools.cache(register_pipelines)


def nodes() -> dict[str, typing.Any]:
    return {node.name: node for pipe in registered().values() for node in pipe.nodes}


@pytest.mark.parametrize("name", sorted(nodes()))
def test_a_nodes_annotations_resolve_so_that_kedro_validates_its_parameters(name: str) -> None:
    node = nodes()[name]
    hints = typing.get_type_hints(node.func)
    names = list(node.func.__annotations__)
    for position, source in enumerate(node.inputs):
        if source.startswith("params:"):
            assert issubclass(hints[names[position]], Options)


def test_every_dataset_has_the_same_stages_and_a_whole() -> None:
    pipelines = registered()
    for dataset in DATASETS:
        stages = [
            pipelines[f"{dataset}.{stage}"]
            for stage in ("ingestion", "training", "evaluation", "reporting")
        ]
        assert set(pipelines[dataset].nodes) == set(sum(stages, Pipeline([])).nodes)
    assert pipelines["__default__"] == pipelines["digits"]


def test_all_datasets_have_the_same_nodes() -> None:
    pipelines = registered()
    names = {
        frozenset(node.name.removeprefix(f"{dataset}.") for node in pipelines[dataset].nodes)
        for dataset in DATASETS
    }
    assert len(names) == 1


def test_no_training_sees_a_label() -> None:
    """Neither directly nor through what it is fed with; nor a known factor."""
    for dataset in DATASETS:
        pipelines = registered()
        training = pipelines[f"{dataset}.training"]
        ancestors = pipelines[dataset].to_outputs(f"{dataset}.model", f"{dataset}.baseline")
        for name in ("labels", "factors"):
            for node in ancestors.nodes:
                assert f"{dataset}.{name}" not in node.inputs
            assert f"{dataset}.{name}" not in training.inputs()


def test_the_identity_of_a_training_counts_all_code_that_makes_its_numbers() -> None:
    reached: set[str] = set()
    ahead = {"training", "distributed", "information"}  # of which the rows of a history are
    while ahead:
        reached |= ahead
        ahead = set().union(*(LIBRARY[name] for name in ahead)) - reached
    assert reached - {"errors", "options"} == set(_TRAINS)  # options are counted as values


def test_no_code_asks_which_dataset_it_serves() -> None:
    for path in MODULES:
        if module_name(path) in ("pipeline_registry", "datasets.__init__"):
            continue
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.Compare):
                texts = [n.value for n in ast.walk(found) if isinstance(n, ast.Constant)]
                assert not set(texts) & set(DATASETS), f"{path}:{found.lineno}"
