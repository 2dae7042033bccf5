"""The page of all data sets."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset

from infogan.datasets.values import Weights
from infogan.options import BLOCKS as BLOCK_TYPES
from infogan.options import Reporting
from infogan.report import page as report_page
from infogan.summary import tell, tell_study, write_index

ROOT = Path(__file__).parents[1]
BLOCKS = yaml.safe_load((ROOT / "conf" / "base" / "parameters_digits.yml").read_text())["digits"]
BLOCKS["training"]["clustering"] = None  # the paper's game
METRICS = {"lower_bound.c1": 2.2, "entropy.c1": 2.3, "information_real.c1": 2.0, "nmi": 0.75}
BASE = dict.fromkeys(("b", "a", "c"), BLOCKS)


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """The project's own patterns, of files in a folder of this test; nothing is reported yet."""
    text = (ROOT / "conf" / "base" / "catalog.yml").read_text()
    patterns = {
        name: entry
        for name, entry in yaml.safe_load(
            text.replace("${globals:data_root}", str(tmp_path))
        ).items()
        if "{dataset}" in name
    }
    catalog = DataCatalog.from_config(patterns)
    for dataset in BASE:
        for block in ("data", "reporting", "evaluation"):
            catalog[f"params:{dataset}.{block}"] = MemoryDataset(BLOCKS[block])
    return catalog


def report(catalog: DataCatalog, dataset: str, **record: Any) -> None:
    """What the last nodes of a run leave."""
    splits = {name: {"images": 9, "from": BLOCKS["data"][name]} for name in ("train", "test")}
    card = {"splits": splits, "source": {}}
    told = {
        "started": f"2026 {dataset}",
        "iterations": BLOCKS["training"]["iterations"],
        "commit": "abc",
        "mlflow_run_id": f"run {dataset}",
        "alarms": {},
        **record,
    }
    model = {
        name: BLOCK_TYPES[name].model_validate(BLOCKS[name]).model_dump(mode="json")
        for name in ("model", "training")
    }
    facts = {"trained from": told["started"]}
    block = Reporting.model_validate(BLOCKS["reporting"])
    page = report_page(block, block.title, METRICS, {}, {}, facts, {})
    made = {
        "metrics": METRICS,
        "record": told,
        "baseline_record": {"alarms": {"d_wins": "certain"}},
        "card": card,
        "report": page,
    }
    for name, value in made.items():
        catalog.save(f"{dataset}.{name}", value)
    catalog.save(f"{dataset}.model", Weights({"w": np.zeros(1)}, model))


def test_the_last_lines_of_a_study_tell_the_errors_of_each_recipe_and_where_its_page_is(
    catalog: DataCatalog, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        {
            "recipe": recipe,
            "observations": [{"error_one_to_one": 1.0}, {"error_one_to_one": error}],
        }
        for recipe, error in (("one", 0.5), ("two", 0.25), ("one", 0.125), ("one", 0.375))
    ]
    catalog.save("a.card", {"source": {}})
    catalog.save("a.study_runs", {"runs": runs})
    tell_study("a", catalog, "nowhere")
    page = catalog.get("a.study_page").path  # type: ignore[union-attr]
    assert capsys.readouterr().out.splitlines() == [
        "",
        "a: what the study found",
        "  one, 3 runs: error 12.5% at best, 37.5% median, 50.0% at worst",
        "  two, 1 run: error 25.0% at best, 25.0% median, 25.0% at worst",
        f"Page:    {page}",
        f"Figure:  {page.parent / 'study.png'}",
        "MLflow:  nowhere",
    ]


@pytest.mark.parametrize("matched", [None, {}, {"code": "c1", "class_of_category": [2, -1]}])
def test_the_last_lines_tell_which_class_each_category_is(
    catalog: DataCatalog, capsys: pytest.CaptureFixture[str], matched: dict[str, Any] | None
) -> None:
    report(catalog, "a")
    for block in ("model", "training"):
        catalog[f"params:a.{block}"] = MemoryDataset(BLOCKS[block])
    if matched is not None:
        catalog.save("a.categories", matched)
    tell("a", catalog, "nowhere")
    told = capsys.readouterr().out
    assert told.startswith("\na: what was found\n  c1: L_I = 2.200 nats")
    assert "\n  Alarm: Regular GAN: certain\n" in told
    assert told.endswith("MLflow:  nowhere\n")
    line = "  c1, category: class, matched on training labels: 0: 2; 1 of 2 without a class."
    assert (line in told) == bool(matched)


def runs_on(page: Path) -> list[str]:
    return re.findall(r"run ([abc])<", page.read_text())


def test_the_index_has_the_alarms_of_the_regular_gan(catalog: DataCatalog) -> None:
    report(catalog, "a")
    page = write_index("a", catalog, BASE, "base").read_text()
    assert "Alarm: Regular GAN: certain" in page


def test_the_index_has_all_reports_that_are_there_in_the_order_of_names(
    catalog: DataCatalog, tmp_path: Path
) -> None:
    report(catalog, "b")
    page = write_index("b", catalog, BASE, "base")
    assert page == tmp_path / "08_reporting" / "index.html"
    assert runs_on(page) == ["b"]
    assert page.read_text().count("no report yet") == 2
    report(catalog, "a")
    write_index("a", catalog, BASE, "base")
    assert runs_on(page) == ["a", "b"]
    assert 'class="mark"' not in page.read_text()
    assert not [each for each in page.parent.iterdir() if ".tmp" in each.name]
    assert not (tmp_path / "06_checkpoints").exists()


def test_a_report_older_than_the_training_has_no_numbers_in_the_index(
    catalog: DataCatalog,
) -> None:
    report(catalog, "a")
    report(catalog, "b")
    record = catalog.load("b.record")
    catalog.save("b.record", record | {"started": "later"})
    for environment, command in (("base", "kedro run"), ("quick", "kedro run --env=quick")):
        page = write_index("a", catalog, BASE, environment)
        assert runs_on(page) == ["a"]
        assert f"`{command} --pipelines=b.evaluation,b.reporting`" in page.read_text()


@pytest.mark.parametrize(
    ("name", "content"),
    [("metrics", None), ("metrics", "{"), ("record", "{}"), ("card", '{"splits": {}}')],
)
def test_damage_to_a_data_set_is_told_in_the_index_and_harms_no_other(
    catalog: DataCatalog, name: str, content: str | None
) -> None:
    report(catalog, "a")
    report(catalog, "b")
    damaged = catalog.get(f"b.{name}").path
    if content is None:
        damaged.unlink()
    else:
        damaged.write_text(content)
    page = write_index("a", catalog, BASE, "base")
    assert runs_on(page) == ["a"]
    assert "cannot be shown: " in page.read_text()


def test_parameters_of_another_data_set_that_are_wrong_harm_no_run(catalog: DataCatalog) -> None:
    report(catalog, "a")
    catalog["params:b.reporting"] = MemoryDataset({"titel": "B"})
    page = write_index("a", catalog, BASE, "base")
    assert runs_on(page) == ["a"]
    assert "cannot be shown: reporting." in page.read_text()


def test_slices_in_percent_are_those_of_conf_base_though_the_card_has_counted(
    catalog: DataCatalog,
) -> None:
    percent = BLOCKS["data"] | {"train": "all[0:90%]", "test": "all[90%:100%]"}
    catalog["params:a.data"] = MemoryDataset(percent)
    report(catalog, "a")
    counted = {"train": "all[0:900]", "test": "all[900:1000]"}
    splits = {name: {"images": 9, "from": text} for name, text in counted.items()}
    catalog.save("a.card", {"splits": splits, "source": {}})
    base = BASE | {"a": BASE["a"] | {"data": percent}}
    assert "data.train" not in write_index("a", catalog, base, "base").read_text()
    assert "data.train" in write_index("a", catalog, BASE, "base").read_text()


def test_the_index_compares_with_the_parameters_that_conf_base_has(catalog: DataCatalog) -> None:
    report(catalog, "a", iterations=7)
    evaluation = BLOCKS["evaluation"] | {"samples": 123}
    catalog["params:a.evaluation"] = MemoryDataset(evaluation)
    text = write_index("a", catalog, BASE, "base").read_text()
    assert f"7 of the {BLOCKS['training']['iterations']:,} iterations" in text
    assert f"evaluation.samples 123 (there {BLOCKS['evaluation']['samples']:,})" in text
