"""What a run was made from, beyond the commit."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.config import OmegaConfigLoader

from infogan.provenance import not_committed, outside_of_dvc
from infogan.settings import CONFIG_LOADER_ARGS


def test_an_experiment_of_dvc_in_a_copy_belongs_to_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    assert outside_of_dvc(project / ".dvc" / "tmp" / "exps" / "temp1234") == project
    assert outside_of_dvc(project) == project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for environment, dataset, training in (
        ("base", "digits", {"lr_g": 1e-3, "iterations": 9}),
        ("local", "digits", {"iterations": 33}),
        ("local", "mnist", {"iterations": 44}),
    ):
        folder = tmp_path / "conf" / environment
        folder.mkdir(parents=True, exist_ok=True)
        content = {dataset: {"training": training}}
        (folder / f"parameters_{dataset}.yml").write_text(yaml.safe_dump(content))
    return tmp_path


def told(project: Path, environment: str | None, **params: Any) -> dict[str, Any]:
    loader = OmegaConfigLoader(str(project / "conf"), env=environment, **CONFIG_LOADER_ARGS)
    run = {"env": environment, **params}
    return not_committed(loader, project, environment or "base", run, ["digits"])


def test_what_conf_local_changes_counts_as_typed_of_what_is_run(project: Path) -> None:
    ours = {"digits": {"training": {"iterations": 33}}}
    assert told(project, None) == {"runtime_params": ours}
    typed = {"digits": {"training": {"iterations": 5, "lr_g": 2e-3}}}
    assert told(project, None, runtime_params=typed) == {"runtime_params": typed}


def test_conf_local_counts_for_nothing_where_it_is_not_read(project: Path) -> None:
    assert told(project, "base") == {}


def test_a_configuration_that_lies_elsewhere_is_named(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    (project / "conf").rename(other)
    loader = OmegaConfigLoader(str(other), env="base", **CONFIG_LOADER_ARGS)
    found = not_committed(loader, project, "base", {"env": "base"}, ["digits"])
    assert found == {"conf_source": str(other)}
