"""dvc.yaml and Kedro name the same files, and every dependency on code is on record."""

import ast
import functools
import json
import math
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline
from kedro_project import ROOT, Project

from infogan.options import CategoricalPrior, Model
from infogan.pipeline_registry import DATASETS, STUDIED, register_pipelines

STAGES = ("download", "ingestion", "training", "evaluation", "reporting")
# Code that decides no result: what is written in parameters is tracked as such, the rest is
# transport, bookkeeping and how errors are told.
NOT_TRACKED = {"errors", "files", "options", "registry", "sources", "tracking", "trained"}
USED_BY_READERS = (
    "datasets/archives",
    "datasets/decoding",
    "furniture",
    "morphable",
    "parallel",
    "rendering",
)


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    with Repo(str(ROOT)) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


@pytest.fixture(scope="module")
def catalog() -> Any:
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env="base") as session:
        return session.load_context().catalog


registered = functools.cache(register_pipelines)


def kedro_part(dataset: str, stage: str) -> Pipeline:
    pipelines = registered()
    if stage == "download":
        return pipelines[f"{dataset}.ingestion"].only_nodes(f"{dataset}.fetch")
    if stage == "ingestion":
        return pipelines[f"{dataset}.ingestion"] - kedro_part(dataset, "download")
    whole = pipelines[f"{dataset}.{stage}"]
    return whole.only_nodes_with_tags("study") if stage == "study" else whole


def location(catalog: Any, name: str) -> str | None:
    """Path of a dataset below the project, or None if it only lives in memory."""
    dataset = catalog.get(name)
    described = dataset._describe() if dataset else {}
    path = described.get("filepath") or described.get("folder") or described.get("path")
    if path is None:
        return None
    return Path(path).resolve().relative_to(ROOT.resolve()).as_posix()


def covered(path: str, paths: set[str]) -> bool:
    """By itself, by a folder that holds it, or, for a folder shared by stages, by files in it."""
    return any(path == p or path.startswith(f"{p}/") or p.startswith(f"{path}/") for p in paths)


def each_stage() -> list[tuple[str, str]]:
    every = [(dataset, stage) for dataset in DATASETS for stage in STAGES]
    return every + [(dataset, "study") for dataset in STUDIED]


def test_dvc_and_the_registry_have_the_same_datasets(stages: dict[str, Any]) -> None:
    each = {f"{stage}@{dataset}" for dataset, stage in each_stage()}
    assert set(stages) == each | {"official"}


def test_the_official_stage_is_all_stages_of_mnist_in_its_environment(
    stages: dict[str, Any],
) -> None:
    official = stages["official"]
    assert official.cmd == "kedro run --env=official --pipelines=mnist"
    parts = [stages[f"{stage}@mnist"] for stage in STAGES if stage != "download"]
    outs = {out.def_path for part in parts for out in part.outs}
    assert {out.def_path for out in official.outs} == {
        path.replace("data/", "data/official/", 1) for path in outs
    }
    deps = {dep.def_path for part in parts for dep in part.deps}
    read = {path for path in deps if not covered(path, outs)}
    own = "conf/official/parameters_mnist.yml"
    assert {dep.def_path for dep in official.deps} == read | {own}
    written = {name for part in parts for dep in part.deps for name in getattr(dep, "params", ())}
    (given,) = (dep.params for dep in official.deps if dep.def_path.startswith("conf/base"))
    assert set(given) == written


@pytest.mark.parametrize(("dataset", "stage"), each_stage())
def test_outputs_are_what_kedro_persists(
    stages: dict[str, Any], catalog: Any, dataset: str, stage: str
) -> None:
    outs = {out.def_path for out in stages[f"{stage}@{dataset}"].outs}
    produced = {location(catalog, name) for name in kedro_part(dataset, stage).all_outputs()}
    paths = {path for path in produced if path}
    for path in paths:
        assert covered(path, outs), f"{path} is written by Kedro but no output of {stage}"
    for out in outs:
        assert covered(out, paths), f"{out} is an output of {stage} but not written by Kedro"


@pytest.mark.parametrize(("dataset", "stage"), each_stage())
def test_dependencies_are_what_kedro_reads(
    stages: dict[str, Any], catalog: Any, dataset: str, stage: str
) -> None:
    deps = {dep.def_path for dep in stages[f"{stage}@{dataset}"].deps}
    data = {dep for dep in deps if dep.startswith("data/")}
    free = {
        name
        for name in kedro_part(dataset, stage).inputs()
        if not name.startswith("params:")
        and not name.endswith((".checkpoints", ".workspace", ".study"))
    }
    read = {location(catalog, name) for name in free}
    for path in read:
        assert path is not None
        assert covered(path, data), f"{path} is read by Kedro but no dependency of {stage}"
    for dep in data:
        assert covered(dep, {path for path in read if path}), f"nothing of {stage} reads {dep}"


@pytest.mark.parametrize(("dataset", "stage"), each_stage())
def test_parameters_are_those_of_the_nodes_and_exist(
    stages: dict[str, Any], dataset: str, stage: str
) -> None:
    (file,) = [dep for dep in stages[f"{stage}@{dataset}"].deps if hasattr(dep, "params")]
    wanted = {
        name.removeprefix("params:")
        for name in kedro_part(dataset, stage).inputs()
        if name.startswith("params:")
    }
    assert set(file.params) == wanted
    written = yaml.safe_load((ROOT / file.def_path).read_text())
    for name in wanted:
        block = written[name.split(".")[0]]
        assert name.split(".")[1] in block


@pytest.mark.parametrize(("dataset", "stage"), each_stage())
def test_commands_run_a_registered_pipeline_in_the_base_environment(
    stages: dict[str, Any], dataset: str, stage: str
) -> None:
    command = stages[f"{stage}@{dataset}"].cmd
    pipeline = "ingestion" if stage == "download" else stage
    assert command.startswith(f"kedro run --env=base --pipelines={dataset}.{pipeline}")
    assert f"{dataset}.{pipeline}" in registered()


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_plot_of_a_data_set_has_a_curve_for_each_code_and_tells_its_entropy(
    stages: dict[str, Any], dataset: str
) -> None:
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    (plot,) = [
        each[f"{dataset}.information"] for each in plots if f"{dataset}.information" in each
    ]
    written = yaml.safe_load((ROOT / f"conf/base/parameters_{dataset}.yml").read_text())[dataset]
    codes = Model.model_validate(written["model"]).codes
    history = f"data/08_reporting/{dataset}/history.csv"
    assert plot["y"].pop(history) == [f"lower_bound.{code.name}" for code in codes]
    if written["training"]["baseline_iterations"]:
        baseline = plot["y"].pop(f"data/08_reporting/{dataset}/baseline_history.csv")
        assert baseline == ["lower_bound.c1"]
    assert not plot["y"]
    outs = {out.def_path for out in stages[f"training@{dataset}"].outs}
    assert history in outs

    of_kinds = {
        f"ln {code.categories}" if isinstance(code, CategoricalPrior) else "ln 2": code.entropy
        for code in codes
    }
    for name, entropy in of_kinds.items():
        assert math.isclose(entropy, math.log(int(name.removeprefix("ln "))))
        assert f"{name} = {entropy:.3f}" in plot["title"]


def imported(module: str, seen: set[str]) -> set[str]:
    """Modules of this package that a module uses, at whatever depth."""
    path = ROOT / "src" / "infogan" / Path(*module.split(".")).with_suffix(".py")
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.ImportFrom) and str(found.module).startswith("infogan"):
            inner = str(found.module).removeprefix("infogan").removeprefix(".")
            for alias in found.names:
                candidate = f"{inner}.{alias.name}".removeprefix(".")
                file = ROOT / "src" / "infogan" / Path(*candidate.split(".")).with_suffix(".py")
                name = candidate if file.exists() else inner
                if name and name not in seen:
                    seen.add(name)
                    if name not in NOT_TRACKED:  # nor does what it needs decide a result
                        imported(name, seen)
    return seen


@pytest.mark.parametrize(
    ("dataset", "stage"), [each for each in each_stage() if each[1] != "download"]
)
def test_code_dependencies_are_the_modules_the_nodes_use(
    stages: dict[str, Any], dataset: str, stage: str
) -> None:
    deps = {dep.def_path for dep in stages[f"{stage}@{dataset}"].deps}
    used = imported(f"pipelines.{stage}.nodes", set())
    library = {
        f"src/infogan/{name}.py"
        for name in used
        if name not in NOT_TRACKED and not name.startswith(("datasets.", "pipelines."))
    }
    listed = {dep for dep in deps if dep.startswith("src/") and dep.endswith(".py")}
    # What readers use is listed for all of them: a matrix has one list.
    used_by_readers = {f"src/infogan/{name}.py" for name in USED_BY_READERS}
    readers = {f"src/infogan/datasets/{dataset}.py", *used_by_readers}
    readers = readers if stage == "ingestion" else set()
    assert listed == library | readers
    assert f"src/infogan/pipelines/{stage}" in deps


def test_the_lock_file_knows_digits_and_mnist_whole_and_no_stage_that_is_gone(
    stages: dict[str, Any],
) -> None:
    """What else somebody reproduces, a study or a part of another data set, may be locked, too."""
    locked = set(yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"])
    assert locked >= {f"{stage}@{dataset}" for dataset in ("digits", "mnist") for stage in STAGES}
    assert locked <= set(stages)


LR_G = "conf/base/parameters_digits.yml:digits.training.lr_g"
METRICS = "data/08_reporting/digits/metrics.json"


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """As `settings.py` merges environments."""
    inner = {key: merge(base[key], each) for key, each in changes.items() if type(each) is dict}
    return {**base, **changes, **inner}


def contents(folder: Path) -> dict[str, bytes]:
    """The results of digits, by their paths below a project."""
    found = sorted(folder.glob("data/0[45678]_*/digits/**/*"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.is_file()
    }


def type_in(project: Project, folder: Path, *command: str) -> str:
    """What a command prints; it must succeed."""
    return typed(project, folder, *command).stdout


def typed(project: Project, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """The same with what it says of its work."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def stages_run(printed: str) -> list[str]:
    """Of what `dvc repro` prints: the stages that were run, not those left as they are."""
    return re.findall(r"^Running stage '(.+)':", printed, flags=re.MULTILINE)


@pytest.fixture
def versioned(project: Project, tmp_path: Path) -> Project:
    """A repository with digits alone, and the tiny networks of smoke in place of base."""
    folder = project.folder
    project.variables["PYTHONPATH"] = str(folder / "src")
    project.warm_kedro(tmp_path / "bin")
    (base, smoke) = [
        yaml.safe_load((folder / "conf" / env / "parameters_digits.yml").read_text())
        for env in ("base", "smoke")
    ]
    parameters = folder / "conf" / "base" / "parameters_digits.yml"
    parameters.write_text(yaml.safe_dump(merge(base, smoke)))
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    names = [{"datasets": ["digits"], "studied": ["digits"]}]
    one = {"vars": names, "plots": declared["plots"][:1]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({**declared, **one}))
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "data/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    type_in(project, folder, "git", "init", "--quiet")
    for key, value in (("user.name", "A"), ("user.email", "a@example.org"), ("gc.auto", "0")):
        type_in(project, folder, "git", "config", key, value)
    type_in(project, folder, "git", "add", ".")
    type_in(project, folder, "git", "commit", "--quiet", "--message=Begin")
    return project


def test_experiments_are_compared_plotted_pushed_and_pulled(
    versioned: Project, tmp_path: Path
) -> None:
    """The commands of the README."""
    project, folder = versioned, versioned.folder
    run = ("dvc", "exp", "run", "--quiet", "evaluation@digits")
    type_in(project, folder, *run, "--name=as-given")
    type_in(project, folder, *run, "--name=slower", f"--set-param={LR_G}=0.0005")

    (_, head) = json.loads(type_in(project, folder, "dvc", "exp", "show", "--json"))
    shown = {}
    for (each,) in [experiment["revs"] for experiment in head["experiments"]]:
        of_run = each["data"]["params"]["conf/base/parameters_digits.yml"]["data"]["digits"]
        bound = each["data"]["metrics"][METRICS]["data"]["lower_bound.c1"]
        shown[each["name"]] = (of_run["training"]["lr_g"], bound)
    assert {name: rate for name, (rate, _) in shown.items()} == {"as-given": 1e-3, "slower": 5e-4}
    assert shown["as-given"][1] != shown["slower"][1]
    assert shown["slower"][1] == json.loads((folder / METRICS).read_text())["lower_bound.c1"]

    plots = ("dvc", "plots", "diff", "as-given", "slower", "--json")
    drawn = json.loads(type_in(project, folder, *plots))
    assert not drawn.get("errors")
    (plot,) = drawn["data"]["digits.information"]
    points = plot["content"]["data"]["values"]
    curves = {(point["rev"], point["filename::field"]) for point in points}
    fields = {f"history.csv::lower_bound.{code}" for code in ("c1", "c2", "c3")}
    fields |= {"baseline_history.csv::lower_bound.c1"}
    assert curves == {(name, field) for name in shown for field in fields}
    ends = {
        point["rev"]: point["lower_bound.c1"]
        for point in points
        if point["filename::field"] == "history.csv::lower_bound.c1" and point["iteration"] == "30"
    }
    assert ends["as-given"] != ends["slower"]

    type_in(project, folder, "dvc", "remote", "add", "--quiet", "store", str(tmp_path / "store"))
    type_in(project, folder, "git", "add", ".")
    type_in(project, folder, "git", "commit", "--quiet", "--message=Keep the slower")
    type_in(
        project,
        folder,
        "dvc",
        "push",
        "--quiet",
        "--remote=store",
        "--with-deps",
        "evaluation@digits",
    )
    clone = tmp_path / "clone"
    type_in(project, tmp_path, "git", "clone", "--quiet", str(folder), str(clone))
    type_in(
        project,
        clone,
        "dvc",
        "pull",
        "--quiet",
        "--remote=store",
        "--with-deps",
        "evaluation@digits",
    )
    assert contents(clone) == contents(folder)
    assert "data/06_models/digits/infogan.safetensors" in contents(clone)


def test_a_killed_reproduction_goes_on_and_what_is_up_to_date_is_not_run_again(
    versioned: Project,
) -> None:
    project, folder = versioned, versioned.folder
    parameters = folder / "conf" / "base" / "parameters_digits.yml"
    digits = yaml.safe_load(parameters.read_text())
    digits["digits"]["training"] |= {"iterations": 300, "checkpoint_every": 20}
    parameters.write_text(yaml.safe_dump(digits))
    repro = ("dvc", "repro", "training@digits")
    with subprocess.Popen(
        repro, cwd=folder, env=project.environment(), start_new_session=True
    ) as process:
        project.wait_for(process, lambda: project.reached("data") > 0)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / "data" / "06_models" / "digits").exists()

    said = typed(project, folder, *repro).stderr
    (begun,) = re.findall(r"infogan: from iteration (\d+) to 300", said)
    assert int(begun) > 0
    assert stages_run(type_in(project, folder, *repro)) == []

    digits["digits"]["training"]["lr_g"] *= 2
    parameters.write_text(yaml.safe_dump(digits))
    assert stages_run(type_in(project, folder, *repro, "--dry")) == ["training@digits"]
