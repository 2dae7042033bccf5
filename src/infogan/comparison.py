"""Runs of MLflow beside each other, and models taken from its registry."""

import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from infogan.errors import UserError, without_password
from infogan.tracking import prepare_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_OURS = "infogan-"  # how names of models begin: conf/base/tracking.yml
_SHORTEST = 4  # characters of an id's beginning
_FACTS = ("dataset", "environment", "device", "git_commit", "partial")
_CURVE = re.compile(r"codes/(.+)\.L_I")  # on fresh codes
_PARAMETERS = ("training.iterations", "training.seeds")
_COLOURS = ("#1f5fa8", "#d9822b", "#2a9d72", "#8e4fa8", "#c0485a", "#708090")
_NUMBERS = (  # of the report, in this order; others are in MLflow
    "lower_bound.",
    "information_real.",
    "error_one_to_one",
    "error_majority",
    "nmi",
    "correlation.",
    "mig",
    "dci_disentanglement",
    "seconds_training",
)


@dataclass(frozen=True)
class Registered:
    """One version of a model in MLflow's registry."""

    name: str
    version: int
    words: tuple[str, ...]  # "latest", and its aliases
    run: str  # the name of the run that trained it

    @property
    def uri(self) -> str:
        """As `infogan generate --model` takes it."""
        return f"models:/{self.name}/{self.version}"


def _client(uri: str) -> "MlflowClient":
    prepare_mlflow()
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    with _answering(uri):
        return MlflowClient(uri)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(without_password(f"MLflow at {uri}: {first_line}")) from None
    except ModuleNotFoundError as error:  # of a database, or of where the files are
        raise UserError(
            f"MLflow at {without_password(uri)} needs the package {error.name}, which is not "
            "installed."
        ) from None


def find(uri: str, wanted: Sequence[str]) -> "list[Run]":
    """The runs of these ids, beginnings of ids, or names, of which the part before a comma is
    enough; UserError names one that is not there.
    """
    client = _client(uri)
    with _answering(uri):
        experiments = [each.experiment_id for each in client.search_experiments()]
        runs = list(client.search_runs(experiments, max_results=10_000))  # the newest first
    return [_one(uri, runs, text) for text in wanted]


def _one(uri: str, runs: "Sequence[Run]", text: str) -> "Run":
    named = [run for run in runs if f"{run.info.run_name},".startswith(f"{text},")]
    if named:
        return named[0]
    begun = [run for run in runs if run.info.run_id.startswith(text)]
    if len(begun) == 1 and len(text) >= _SHORTEST:
        return begun[0]
    if begun:
        raise UserError(f"{text!r} is the beginning of {len(begun)} runs: give more of it.")
    newest = ", ".join(f"{run.info.run_id[:8]} ({run.info.run_name})" for run in runs[:5])
    raise UserError(
        f"{text!r} is no run in {without_password(uri)}; the newest are {newest or 'none'}."
    )


def table(runs: "Sequence[Run]") -> list[list[str]]:
    """Rows of text, the first names the runs; what none of them has is left out."""
    rows = [
        ["run", *(run.info.run_id[:8] for run in runs)],
        ["name", *(run.info.run_name or "" for run in runs)],
        ["status", *(run.info.status for run in runs)],
    ]

    def add(name: str, texts: Sequence[str]) -> None:
        if any(texts):
            rows.append([name, *(text or "-" for text in texts)])

    for fact in _FACTS:
        add(fact, [run.data.tags.get(fact, "")[:20] for run in runs])
    for name in _PARAMETERS:
        add(name.removeprefix("training."), [run.data.params.get(name, "") for run in runs])
    numbers = [_final(run) for run in runs]
    known = dict.fromkeys(name for each in numbers for name in each)
    for beginning in _NUMBERS:
        for name in known:
            if name == beginning or (beginning.endswith(".") and name.startswith(beginning)):
                add(name, [_text(name, each) for each in numbers])
    return rows


def _final(run: "Run") -> dict[str, float]:
    return {
        name.removeprefix("eval/"): value
        for name, value in sorted(run.data.metrics.items())
        if name.startswith("eval/")
    }


def _text(name: str, numbers: Mapping[str, float]) -> str:
    if name not in numbers:
        return ""
    value = numbers[name]
    if name.startswith("error"):
        return f"{value:.1%}"
    ceiling = _ceiling(name.removeprefix("lower_bound."), numbers)
    return f"{value:.3f} of {ceiling:.3f}" if ceiling is not None else f"{value:.4g}"


def _ceiling(code: str, numbers: Mapping[str, float]) -> float | None:
    """H(c) of a categorical code; of a continuous code with sigma fixed, what L_I is if Q reads it
    perfectly; with a learned sigma there is none.
    """
    categorical = f"information_real.{code}" in numbers
    return numbers.get(f"entropy.{code}" if categorical else f"perfect.{code}")


def curves(uri: str, runs: "Sequence[Run]") -> bytes:
    """L_I of each code on fresh codes over iterations, a line a run, as a PNG file; UserError if
    none of the runs has any.
    """
    from matplotlib.figure import Figure

    client = _client(uri)
    found = [
        match[1]
        for run in runs
        for name in sorted(run.data.metrics)
        if (match := _CURVE.fullmatch(name))
    ]
    codes = list(dict.fromkeys(found))
    if not codes:
        raise UserError("none of these runs has a curve of L_I: they have not been trained.")
    columns = min(3, len(codes))
    rows = -(-len(codes) // columns)
    figure = Figure(figsize=(1 + 3 * columns, 0.6 + 2.4 * rows), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(codes) :]:
        axes.set_axis_off()
    for axes, code in zip(panels, codes, strict=False):
        for place, run in enumerate(runs):
            with _answering(uri):
                points = client.get_metric_history(run.info.run_id, f"codes/{code}.L_I")
            points = sorted(points, key=lambda point: point.step)
            axes.plot(
                [point.step for point in points],
                [point.value for point in points],
                color=_COLOURS[place % len(_COLOURS)],
                linestyle=("-", "--", ":")[place // len(_COLOURS) % 3],
                label=f"{run.info.run_name} ({run.info.run_id[:8]})",
            )
        _draw_ceiling(axes, runs, code)
        axes.set_title(code, loc="left", fontsize=9)
        axes.set_xlabel("Iteration", fontsize=8)
        axes.set_ylabel("$L_I$ (nats)", fontsize=8)
        axes.tick_params(labelsize=7)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # names are what people type, with $ and all
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _draw_ceiling(axes: Any, runs: "Sequence[Run]", code: str) -> None:
    """What L_I can reach as a dashed line, if the runs agree on it."""
    known = {_ceiling(code, _final(run)) for run in runs} - {None}
    if len(known) == 1:
        axes.axhline(known.pop(), color="0.35", linewidth=0.8, linestyle=(0, (4, 3)))


def registered(uri: str) -> list[Registered]:
    """The models of this project in the registry, the newest first."""
    client = _client(uri)
    with _answering(uri):
        found = [
            (model, version)
            for model in client.search_registered_models()
            if model.name.startswith(_OURS)
            for version in client.search_model_versions(f"name='{model.name}'")
        ]
        found.sort(key=lambda each: int(each[1].creation_timestamp), reverse=True)
        if not found:
            return []
        ids = ", ".join(f"'{version.run_id}'" for _, version in found)
        runs = client.search_runs(
            [each.experiment_id for each in client.search_experiments()],
            f"attributes.run_id IN ({ids})",
        )
    names = {run.info.run_id: run.info.run_name or "" for run in runs}
    latest: dict[str, Any] = {}
    for model, version in found:
        latest.setdefault(model.name, version.version)
    return [
        Registered(
            name=model.name,
            version=int(version.version),
            words=(
                *(["latest"] if version.version == latest[model.name] else []),
                *sorted(
                    alias
                    for alias, number in model.aliases.items()
                    if int(number) == int(version.version)
                ),
            ),
            run=names.get(version.run_id, ""),
        )
        for model, version in found
    ]


@contextmanager
def download(uri: str, model: str) -> Iterator[Path]:
    """The files of a model of the registry, as long as the block lasts; UserError if there is none
    of this address.
    """
    _client(uri)
    from mlflow import artifacts

    with TemporaryDirectory() as folder:
        with _answering(uri):
            found = Path(artifacts.download_artifacts(model, dst_path=folder, tracking_uri=uri))
        yield found
