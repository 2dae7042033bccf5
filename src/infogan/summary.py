"""What a run says when it ends: its findings, and the page of all data sets."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from filelock import FileLock
from kedro.io import CatalogProtocol, DatasetError

from infogan import browsing, index
from infogan.errors import UserError
from infogan.files import atomic
from infogan.options import BLOCKS, Data, Evaluation, Model, Reporting, Training, extensions
from infogan.provenance import data_name
from infogan.report import all_alarms, findings, matching


def tell(dataset: str, catalog: CatalogProtocol, where: str) -> None:
    """The last lines of a run: what was found, and where to look."""
    report = catalog.get(f"{dataset}.report").path  # type: ignore[union-attr]
    record = catalog.load(f"{dataset}.record")
    name = data_name(dataset, catalog.load(f"{dataset}.card"))
    click.echo(f"\n{name}: what was found")
    extended = extensions(
        Model.model_validate(catalog.load(f"params:{dataset}.model")),
        Training.model_validate(catalog.load(f"params:{dataset}.training")),
    )
    if extended:
        click.echo(f"  {extended}")
    alarms = all_alarms(record, catalog.load(f"{dataset}.baseline_record")).values()
    for sentence in findings(catalog.load(f"{dataset}.metrics"), alarms):
        click.echo(f"  {sentence}")
    known = catalog.exists(f"{dataset}.categories")
    if known and (categories := catalog.load(f"{dataset}.categories")):
        click.echo(f"  {matching(categories)}")
    click.echo(f"Report:  {report}")
    click.echo(f"Figures: {report.parent / 'figures'}{os.sep}*.png")
    click.echo(f"MLflow:  {where}")


def tell_study(dataset: str, catalog: CatalogProtocol, where: str) -> None:
    """The last lines of a study: the errors of each recipe, and where to look."""
    page = catalog.get(f"{dataset}.study_page").path  # type: ignore[union-attr]
    name = data_name(dataset, catalog.load(f"{dataset}.card"))
    click.echo(f"\n{name}: what the study found")
    for line in browsing.study_results(catalog.load(f"{dataset}.study_runs")["runs"]):
        click.echo(f"  {line}")
    click.echo(f"Page:    {page}")
    click.echo(f"Figure:  {page.parent / 'study.png'}")
    click.echo(f"MLflow:  {where}")


def write_index(
    reported: str, catalog: CatalogProtocol, base: dict[str, Any], environment: str
) -> Path:
    """The page of all data sets whose reports lie beside that of ``reported``.

    No output of a node: it depends on what else is there.
    """
    folder: Path = catalog.get(f"{reported}.report").path.parent.parent  # type: ignore[union-attr]
    page = folder / "index.html"
    # Two runs may end at once; the later one finds both reports.
    with FileLock(folder / ".index.lock"):
        entries = [
            _entry(dataset, catalog, base[dataset], environment) for dataset in sorted(base)
        ]
        with atomic(page) as temporary:
            temporary.write_text(index.page(entries, environment))
    return page


def _entry(
    dataset: str, catalog: CatalogProtocol, base: dict[str, Any], environment: str
) -> index.Entry:
    """What there is to say of a data set; damage to its files is no harm to a run of another."""
    entry = index.Entry(dataset, title=dataset, claims=())
    try:
        reporting = Reporting.model_validate(catalog.load(f"params:{dataset}.reporting"))
        entry = index.without_numbers(dataset, reporting, "no report yet.")
        if catalog.exists(f"{dataset}.report"):
            entry = _reported(dataset, catalog, reporting, base, environment)
    except (DatasetError, KeyError, ValueError, UserError) as error:
        entry = replace(entry, why=f"cannot be shown: {error}")
    return entry


def _reported(
    dataset: str,
    catalog: CatalogProtocol,
    reporting: Reporting,
    base: dict[str, Any],
    environment: str,
) -> index.Entry:
    names = ("metrics", "record", "baseline_record", "card", "model", "report")
    metrics, record, baseline, card, trained, report = (
        catalog.load(f"{dataset}.{name}") for name in names
    )
    if not index.belongs(report, metrics, record):
        named = "" if environment in ("base", "local") else f" --env={environment}"
        again = f"kedro run{named} --pipelines={dataset}.evaluation,{dataset}.reporting"
        why = f"trained or evaluated again since its report was made; `{again}` makes it anew."
        return index.without_numbers(dataset, reporting, why)

    evaluation = Evaluation.model_validate(catalog.load(f"params:{dataset}.evaluation"))
    # The card has counted what the parameters may say in percent.
    written = Data.model_validate(catalog.load(f"params:{dataset}.data")).model_dump(mode="json")
    splits = {
        name: written[name] if "%" in str(written[name]) else each["from"]
        for name, each in card["splits"].items()
    }
    settings = index.departures(
        {
            "data": splits,
            "model": trained.card["model"],
            "training": trained.card["training"],
            "evaluation": evaluation.model_dump(mode="json"),
        },
        {
            name: BLOCKS[name].model_validate(base[name]).model_dump(mode="json")
            for name in ("data", "model", "training", "evaluation")
        },
    )
    figures = catalog.get(f"{dataset}.report").path.parent / "figures"  # type: ignore[union-attr]
    return index.reported(
        dataset,
        reporting,
        metrics,
        {**record, "alarms": all_alarms(record, baseline)},
        card,
        settings,
        [path.stem for path in sorted(figures.glob("*.png"))],
        browsing.sentence(metrics),
        base["training"]["iterations"],
        extensions(
            Model.model_validate(trained.card["model"]),
            Training.model_validate(trained.card["training"]),
        ),
    )
