from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.cli.utils import KedroCliError
from omegaconf import OmegaConf

from infogan.cli import cli, explanation


def parsed(text: str) -> Any:
    """What `kedro run --params=TEXT` hands on."""
    run = cli.commands["run"]
    return run.make_context("run", [f"--params={text}"]).params["params"]


@pytest.mark.parametrize(
    "path",
    [
        *("/a/b", "/with space/b", "/a #b", "#b", "/a: b", "/a/b:", "/a=b", "C:\\x", "~/x", "~"),
        *("2024", "007", "1e3", "2024_01", "true", "null", "", "[x]", "{x}", "*x", "!x", "@x"),
        *("/it's", '/a "b"', "/a,b", "/a, b,c", "/a,b/c=d"),
    ],
)
def test_a_path_is_taken_as_it_is_typed(path: str) -> None:
    wanted = {"folder": {"source": {"path": path}, "training": {"seed": 1}}}
    assert parsed(f"folder.source.path={path},folder.training.seed=1") == wanted
    assert parsed(f"folder.training.seed=1,folder.source.path={path}") == wanted


def test_that_of_weights_is_a_path_too() -> None:
    found = parsed("a.inception_weights=/a #b,a.seed=1")
    assert found == {"a": {"inception_weights": "/a #b", "seed": 1}}
    assert parsed("a.inception_weights=null") == {"a": {"inception_weights": None}}


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_path_are_not_of_the_path(quote: str) -> None:
    assert parsed(f"a.path={quote}/a #b{quote}") == {"a": {"path": "/a #b"}}


def test_a_path_may_look_like_a_reference() -> None:
    """Escaped, since Kedro resolves references in what it is given."""
    given = OmegaConf.create(parsed("a.path=/o/d${x}"))
    assert OmegaConf.to_container(given, resolve=True) == {"a": {"path": "/o/d${x}"}}


def test_a_path_that_is_not_utf_8_is_refused_with_what_helps() -> None:
    with pytest.raises(click.UsageError, match="is not UTF-8: rename what is called so, or give"):
        parsed("a.path=/o/no\udcffutf")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MissingConfigException("no conf/smok"), "The configuration cannot be read: no conf/smok"),
        (yaml.YAMLError("line 37"), "A file of the configuration cannot be read: line 37"),
        (ValueError("Duplicate keys found in a and b: x"), "Duplicate keys found in a and b: x"),
        (ValueError("Pipeline does not contain nodes named ['x']."), "Pipeline does not contain"),
        (ValueError("Pipeline does not contain datasets named ['x']"), "Pipeline does not cont"),
        (KedroCliError("--pipeline and --pipelines"), "--pipeline and --pipelines"),
        (OSError(13, "Permission denied", "a.pt"), "Permission denied: a.pt."),
        (OSError(28, "Disk full", "a.pt"), "Disk full: a.pt. Make room and give the same command"),
        (AttributeError("module 'kedro.runner' has no attribute 'Foo'"), "--runner names none"),
        (AttributeError("a bug"), None),
        (ValueError("a bug"), None),
        (KeyError("a bug"), None),
    ],
)
def test_what_a_person_can_mend_is_a_sentence_and_a_bug_is_not(
    error: Exception, sentence: str | None
) -> None:
    wrapped = RuntimeError("Kedro")
    wrapped.__cause__ = error
    told = explanation(wrapped)
    assert (told is None) if sentence is None else str(told).startswith(sentence)


@pytest.mark.parametrize(
    ("typed", "told"),
    [("smoek", "did you mean smoke?"), ("xyz", "there are base, quick, smoke.")],
)
def test_an_environment_that_is_not_there_is_told_beside_those_that_are(
    tmp_path: Path, typed: str, told: str
) -> None:
    for name in ("smoke", "quick", "base"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "globals.yml").touch()
    (tmp_path / "local").mkdir()
    with pytest.raises(MissingConfigException) as found:
        OmegaConfigLoader(str(tmp_path), env=typed, base_env="base", default_run_env="local")[
            "parameters"
        ]
    expected = f"There is no environment {typed} in {tmp_path}; {told}"
    assert explanation(found.value) == expected


def test_a_missing_local_folder_is_told_to_who_named_no_environment(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(MissingConfigException) as found:
        OmegaConfigLoader(str(tmp_path), base_env="base", default_run_env="local")["parameters"]
    expected = f"{tmp_path / 'local'} is missing: make that folder, which may be empty."
    assert explanation(found.value) == expected


def test_other_values_are_numbers_lists_and_texts() -> None:
    text = "a.b=1,a.c=2.0e-4, a.d=[1,2] ,e=word,f=true"
    assert parsed(text) == {"a": {"b": 1, "c": 2e-4, "d": [1, 2]}, "e": "word", "f": True}
    assert parsed("") == {}


@pytest.mark.parametrize("text", ["a.seeds=[0,", "a={x", "a='b", "a=${b"])
def test_what_the_shell_has_cut_is_a_sentence_that_says_how_to_type_it(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"cannot be read: .*--params='digits\."):
        parsed(text)


@pytest.mark.parametrize("text", ["a", "=1", "a.b"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"--params has '.*', but is written KEY=VALUE"):
        parsed(text)
