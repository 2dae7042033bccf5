"""What a person meets who browses MLflow, as words and numbers."""

import base64
import json
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from infogan.browsing import (
    command,
    describe,
    experiment_tags,
    final_numbers,
    headline,
    run_name,
    sentence,
)
from infogan.cli import parameters
from infogan.options import Model, Training
from infogan.tracking import NOTE

METRICS = {
    "lower_bound.c1": 2.0,
    "lower_bound.c2": 0.25,
    "entropy.c1": 2.5,
    "entropy.c2": 0.5,
    "information_real.c1": 1.5,
    "baseline_lower_bound.c1": 0.125,
    "baseline_lower_bound.c2": -0.5,
    "error_one_to_one": 0.123456,
    "error_majority": 0.1,
    "error_one_to_one_recalibrated": 0.12,
    "seed": 4,
}
TAGS = {
    "git_commit": "0123456789abcdef",
    "git_dirty": "false",
    "mlflow.source.name": "kedro run --env=quick",
    "report": "data/report.html",
}


# --- Runs ----------------------------------------------------------------------------------------


def test_a_name_tells_a_run_from_its_neighbours(make_training: Callable[..., Training]) -> None:
    one, several = make_training(seeds=[3], iterations=70), make_training(seeds=[3, 5])
    assert run_name("mnist", "quick", one, {}) == "mnist quick seed 3, 70 it"
    changed = {"training.lr_g": "0.0005", "model.spread": "fixed"}
    name = "mnist base 2 seeds, 10 it, lr_g=0.0005, spread=fixed"
    assert run_name("mnist", "base", several, changed) == name
    long = run_name("mnist", "base", several, {"model.generator": "fc 8 " * 99})
    assert len(long) == 80


def read(text: str) -> Any:
    """What Kedro is given of a command line's --params, as the project reads it."""
    option = click.Option(["--params"])
    (typed,) = [word for word in shlex.split(text) if word.startswith("--params=")]
    return parameters(click.Context(click.Command("run")), option, typed.removeprefix("--params="))


@pytest.mark.parametrize(
    "params",
    [
        {"mnist": {"training": {"lr_g": 5e-4, "seeds": [0, 1], "mi_trains_trunk": False}}},
        {"folder": {"source": {"path": "/my images, and others/10"}, "data": {"train": "a[0:5]"}}},
        {"mnist": {"training": {"average_g": None, "resume": "never"}, "model": {"d_head": []}}},
        {"digits": {"reporting": {"title": "Digits: small # 2"}, "data": {"test": "1e3"}}},
        {"digits": {"reporting": {"claims": [{"claim": "é 😀", "measured": "it's"}]}}},
    ],
)
def test_a_command_typed_again_gives_the_same_parameters(params: dict[str, Any]) -> None:
    assert read(command({"runtime_params": params})) == params


def test_a_command_has_its_pipelines_in_order_and_its_environment() -> None:
    told = {"pipeline_names": ["svhn", "mnist"], "env": "quick", "runtime_params": {}}
    assert command(told) == "kedro run --pipelines=mnist,svhn --env=quick"
    assert command({"pipeline_names": None, "env": None, "runtime_params": None}) == "kedro run"


def test_a_packaged_project_is_run_by_its_own_command(tmp_path: Path) -> None:
    told = {"project_path": tmp_path, "conf_source": "conf"}
    assert command(told) == "infogan run --conf-source=conf"
    (tmp_path / "pyproject.toml").touch()
    assert command(told) == "kedro run --conf-source=conf"


# --- Final numbers -------------------------------------------------------------------------------


def test_the_ratio_is_that_of_categorical_codes_alone() -> None:
    assert headline(METRICS) == {"L_I_ratio": 0.8, "error": 0.1235}
    two = {**METRICS, "information_real.c2": 0.1}
    assert headline(two)["L_I_ratio"] == 0.75  # 2.25 / 3
    assert headline({"lower_bound.c1": 1.0, "entropy.c1": 0.5}) == {}


def test_numbers_in_words_are_rounded_once() -> None:
    numbers = {"error_one_to_one": 0.72054}
    assert sentence(numbers) == "error 72.1%"


def test_of_several_seeds_the_headline_is_the_mean_and_the_rest_has_a_group_of_its_own() -> None:
    over = {"mean.lower_bound.c1": 1.0, "mean.error_one_to_one": 0.5, "best.error_one_to_one": 0.4}
    numbers = final_numbers({**METRICS, **over, "seeds": 2})
    assert numbers["L_I_ratio"] == 0.4
    assert numbers["error"] == 0.5
    assert numbers["eval/error_one_to_one"] == 0.123456
    assert numbers["seeds/error_one_to_one.best"] == 0.4
    assert numbers["eval/seeds"] == 2
    assert not [name for name in numbers if name.startswith("eval/mean")]


def test_no_final_number_is_lost() -> None:
    numbers = final_numbers(METRICS)
    assert {name: numbers[f"eval/{name}"] for name in METRICS} == METRICS
    assert numbers.keys() - {f"eval/{name}" for name in METRICS} == {"L_I_ratio", "error"}


# --- Descriptions --------------------------------------------------------------------------------


def lines(text: str) -> list[str]:
    return text.replace("&emsp;", "").splitlines()


def test_a_description_says_the_result_and_how_to_get_it_again() -> None:
    text = describe(TAGS, METRICS, alarms=["D wins"])
    assert lines(text)[0] == "**L_I is 80.0% of H(c), error 12.3%**"
    assert "| c1 | 2.000 | 2.500 | 80.0% | 0.125 |" in lines(text)
    assert "| c2 | 0.250 | 0.500 | – | -0.500 |" in lines(text)  # its H(c) is no ceiling
    assert "* Alarm: D wins" in lines(text)
    assert "Again: `kedro run --env=quick`, at commit 0123456789." in lines(text)
    assert any("`data/report.html`" in line for line in lines(text))
    assert "with uncommitted changes" in describe({**TAGS, "git_dirty": "true"}, METRICS)


def test_a_table_has_as_many_cells_in_every_line() -> None:
    text = describe(TAGS, METRICS, seeds=[METRICS, {**METRICS, "seed": 5}])
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_of_several_seeds_there_is_a_line_each() -> None:
    other = {**METRICS, "seed": 7, "error_one_to_one": 0.25}
    over = {
        f"{what}.{name}": value
        for name, value in (("lower_bound.c1", 2.0), ("error_one_to_one", 0.187))
        for what in ("mean", "deviation", "best", "worst")
    }
    text = describe(TAGS, {**METRICS, **over, "seeds": 2}, seeds=[METRICS, other])
    assert lines(text)[0] == "**L_I is 80.0% of H(c), error 18.7%** (mean of 2 seeds)"
    assert "| 4 | 0.800 | 0.123 |" in lines(text)
    assert "| 7 | 0.800 | 0.250 |" in lines(text)


def test_what_somebody_has_written_below_the_line_stays() -> None:
    before = describe(TAGS)
    assert before.startswith("No result yet.")
    theirs = before + "My favourite.\n\n---\n\nReally."
    after = describe({**TAGS, NOTE: theirs}, METRICS)
    assert after.startswith("**L_I is")
    assert after.endswith("\n\n---\nMy favourite.\n\n---\n\nReally.")
    assert describe({**TAGS, NOTE: after}, METRICS) == after


def test_without_categorical_codes_or_labels_a_description_still_stands() -> None:
    text = describe(TAGS, {"lower_bound.c1": 1.0, "entropy.c1": 0.5})
    assert lines(text)[0].startswith("| code |")
    assert "| c1 | 1.000 | 0.500 | – | – |" in lines(text)
    assert sentence({"lower_bound.c1": 1.0, "entropy.c1": 0.5}) == ""


# --- Experiments ---------------------------------------------------------------------------------


def view(tags: dict[str, str]) -> dict[str, Any]:
    """The state of the only view, read as MLflow's pages do."""
    (key,) = [name for name in tags if name.startswith("mlflow.sharedViewState.")]
    packed = json.loads(tags[key])["state"].removeprefix("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def test_a_view_of_a_model_without_categories_has_no_empty_section(
    make_model: Callable[..., Model], training: Training
) -> None:
    model = make_model(codes=["c1 uniform -1 1", "c2 uniform -1 1"])
    state = view(experiment_tags("InfoGAN on toys", model, training))
    shown = {chart["metricSectionId"] for chart in state["compareRunCharts"]}
    assert shown == {section["uuid"] for section in state["compareRunSections"]}


def test_a_view_shows_l_i_and_h_of_each_code_in_one_chart(
    model: Model, training: Training
) -> None:
    state = view(experiment_tags("InfoGAN on toys", model, training))
    charts = [chart.get("selectedMetricKeys") for chart in state["compareRunCharts"]]
    for code in ("c1", "c2", "c3"):
        assert [f"codes/{code}.L_I", f"codes/{code}.H"] in charts
    assert ["codes/c1.information_real"] in charts
    assert not any("c2.information_real" in str(chart) for chart in charts)
    sections = [section["uuid"] for section in state["compareRunSections"]]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == set(sections)
    numbers = [chart["uuid"] for chart in state["compareRunCharts"]]
    assert len(set(numbers)) == len(numbers)


def test_what_one_compares_runs_by_comes_first(model: Model, training: Training) -> None:
    columns = view(experiment_tags("", model, training))["columnOrder"]
    wanted = ["tags.`dataset`", "tags.`environment`", "metrics.`L_I_ratio`", "metrics.`error`"]
    assert columns[2:6] == wanted
    assert columns[6] == "tags.`partial`"  # beside the numbers, which are of no whole data set


def test_a_view_fits_into_a_tag_and_other_codes_have_another(
    make_model: Callable[..., Model], training: Training
) -> None:
    many = make_model(codes=[f"c{i} categorical 10" for i in range(1, 31)])
    one, other = (experiment_tags("", each, training) for each in (make_model(), many))
    assert max(map(len, other.values())) < 5000  # of older servers; those of 3.17 take 20,000
    assert one.keys() & other.keys() == {NOTE}
    assert experiment_tags("", make_model(), training) == one


def test_pictures_are_shown_as_they_are_at_the_end(
    model: Model, make_training: Callable[..., Training]
) -> None:
    training = make_training(iterations=40, baseline_iterations=20)
    charts = view(experiment_tags("", model, training))["compareRunCharts"]
    assert [(chart["imageKeys"], chart["step"]) for chart in charts if "imageKeys" in chart] == [
        (["As it learns/InfoGAN"], 40),
        (["As it learns/regular GAN"], 20),
    ]


def test_what_is_not_in_the_paper_is_in_the_description_before_and_after_the_run() -> None:
    tags = {**TAGS, "extended": "With training.steps_g."}
    assert "With training.steps_g." in describe(tags)
    assert "With training.steps_g." in describe(tags, METRICS)
