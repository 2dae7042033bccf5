"""The command line: ``infogan generate``, ``encode``, ``compare``, ``explore`` and ``run``.

Nothing heavy, and nothing of Kedro, is imported before a command needs it.
"""

import csv
import functools
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infogan.errors import Rejected, UserError
from infogan.files import atomic

if TYPE_CHECKING:
    import numpy as np

    from infogan.trained import Trained

_MOST_IMAGES = 10_000
_GAP = 2  # pixels between the images of a grid
_MODEL_HELP = "A safetensors file, or a model of MLflow: models:/infogan-mnist@best."


def _plainly(callback: Callable[..., None]) -> Callable[..., None]:
    """What a person can mend is said in a sentence; exit code 1."""

    @functools.wraps(callback)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            callback(*args, **kwargs)
        except UserError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            raise click.ClickException(f"{error.strerror or error}{where}.") from None

    return call


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Use trained models, and compare runs; `infogan run` is `kedro run`."""
    # Names of files need not be UTF-8; they are written as the file system has them.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


@cli.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.option("--conf-source", "conf", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@_plainly
def run(conf: Path | None, arguments: tuple[str, ...]) -> None:
    """Run the project of the current folder: the same as `kedro run`. Elsewhere --conf-source
    names the configuration that `kedro package` made, and data/ is of the current folder.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")  # by Kedro, where no project says so
    from kedro.utils import find_kedro_project

    project = find_kedro_project(Path.cwd())
    if project is None and conf is None:
        raise UserError(
            f"{Path.cwd()} is in no Kedro project: change to the project's folder, or name the "
            "configuration with --conf-source."
        )
    logging = (conf or project / "conf") / "logging.yml"
    if logging.exists():  # which Kedro finds from the project's own folder alone
        os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(logging))
    arguments = ("run", *([f"--conf-source={conf}"] if conf else []), *arguments)
    if project is None:
        from kedro.framework.project import configure_project  # which logs, too

        configure_project("infogan")
        from infogan.cli import cli as packaged

        packaged.main(arguments, prog_name="infogan")
    else:
        from kedro.framework.cli.cli import KedroCLI  # which logs at once

        KedroCLI(project).main(arguments)


# --- generate ------------------------------------------------------------------------------------


@cli.command(
    epilog="""\b
Examples:
  infogan generate --model data/06_models/mnist/infogan.safetensors --out samples.png
  infogan generate --model models:/infogan-mnist@best \\
      --codes digit=7,c2=-2:2:10 --seed 0 --count 5 --out grid.png
  infogan generate --model models:/infogan-mnist@best --codes c1=0:9 --out all.png
"""
)
@click.option("--model", "uri", required=True, help=_MODEL_HELP)
@click.option(
    "--codes",
    "written",
    default="",
    metavar="NAME=VALUE,…",
    help="What the codes shall be; others are drawn at random. A name is one of the model: c1, "
    "c2, … (c3_0, c3_1 of a code with several dimensions), or 'class' or 'digit' for the category "
    "that was matched to it. A value is a number, or the name of a class that has one, or "
    "LOW:HIGH:STEPS for several, side by side; of categories FIRST:LAST.",
)
@click.option("--seed", default=0, show_default=True, help="Draws the noise and what is left out.")
@click.option("--count", default=1, show_default=True, help="Random draws, a row of images each.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A PNG file.")
@_plainly
def generate(uri: str, written: str, seed: int, count: int, out: Path) -> None:
    """Make images with chosen codes."""
    _refuse_suffix(out, ".png")
    sweeps = _sweeps(written)
    images = count * math.prod(len(values) for _, values in sweeps)
    if images > _MOST_IMAGES:
        raise UserError(f"{images:,} images are asked for, but at most {_MOST_IMAGES:,} are made.")
    model = _load(uri)
    names = [name for name, _ in sweeps]
    rows = [
        dict(zip(names, values, strict=True))
        for values in product(*(values for _, values in sweeps))
    ]
    for concern in model.concerns(rows):
        click.echo(f"Warning: {concern}", err=True)
    made = model.generate(rows, count, seed)  # (rows * count, C, H, W)
    made = made.reshape(len(rows), count, *model.shape)

    # Rows of the picture: draws, then all sweeps but the last, which goes from left to right.
    several = [len(values) for _, values in sweeps if len(values) > 1]
    columns = several[-1] if several else _square(count)
    in_order = made.swapaxes(0, 1).reshape(-1, *model.shape)
    content = _png(in_order, columns)
    with atomic(out) as temporary:
        temporary.write_bytes(content)
    click.echo(f"{out}: {len(in_order)} image{'s' * (len(in_order) != 1)}, {columns} a row")


def _sweeps(written: str) -> list[tuple[str, list[float] | list[str]]]:
    """``digit=7,c2=-2:2:10`` as names and the values of each."""
    sweeps: list[tuple[str, list[float] | list[str]]] = []
    for item in filter(None, (part.strip() for part in written.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name or not value:
            raise UserError(f"--codes has {item!r}, but is written NAME=VALUE,NAME=VALUE.")
        if name in (known for known, _ in sweeps):
            raise UserError(f"--codes gives {name} twice.")
        sweeps.append((name, _values(name, value)))
    return sweeps


def _values(name: str, text: str) -> list[float] | list[str]:
    from infogan.trained import CLASS_WORDS

    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if name in CLASS_WORDS and len(numbers) < 2:
        return [text]  # which may be a name
    if len(numbers) not in (1, 2, 3) or not all(map(math.isfinite, numbers)):
        raise UserError(
            f"{name} is {text!r}, but a value is a number, LOW:HIGH:STEPS, or FIRST:LAST of "
            "categories."
        )
    if len(numbers) == 1:
        return numbers
    first, last = numbers[:2]
    steps = numbers[2] if len(numbers) == 3 else abs(last - first) + 1
    if not steps.is_integer() or not 1 <= steps <= _MOST_IMAGES:
        raise UserError(
            f"{name} is {text!r}, but the steps from {first:g} to {last:g} must be a whole number "
            f"from 1 to {_MOST_IMAGES:,}: write {first:g}:{last:g}:10."
        )
    spans = max(int(steps) - 1, 1)
    return [first + (last - first) * step / spans for step in range(int(steps))]


def _square(count: int) -> int:
    return math.ceil(math.sqrt(count))


def _png(images: "np.ndarray", columns: int) -> bytes:
    """Images (n, C, H, W) in rows, on white, as a PNG file."""
    import numpy as np

    from infogan.trained import png

    channels, height, width = images.shape[1:]
    rows = math.ceil(len(images) / columns)
    pitch = height + _GAP, width + _GAP
    page = np.full((channels, rows * pitch[0] + _GAP, columns * pitch[1] + _GAP), 255, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * pitch[0] + _GAP, place % columns * pitch[1] + _GAP
        page[:, top : top + height, left : left + width] = image
    return png(page)


# --- encode --------------------------------------------------------------------------------------


@cli.command(
    epilog="""\b
Examples:
  infogan encode --model models:/infogan-mnist@best seven.png
  infogan encode --model data/06_models/mnist/infogan.safetensors scans/*.png --out codes.csv
"""
)
@click.option("--model", "uri", required=True, help=_MODEL_HELP)
@click.option("--out", type=click.Path(path_type=Path), help="A CSV file; without it, the screen.")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@_plainly
def encode(uri: str, out: Path | None, images: tuple[Path, ...]) -> None:
    """Read the codes of images.

    A row an image. Of a categorical code: the likeliest category, the probability of each, and the
    class it was matched to, if any. Of a continuous one: mean and standard deviation. Images of
    another shape are prepared as those of the training were, or, where that is not known, cut to
    the model's proportions and resized, which is mentioned.
    """
    import numpy as np

    if out:
        _refuse_suffix(out, ".csv")
    model = _load(uri)
    read: list[Path] = []
    arrays, rejected = [], []
    alike: dict[str, list[Path]] = {}  # images by what was changed of them
    for path in images:
        try:
            image, changed = model.read_file(path)
        except Rejected as error:
            rejected.append(f"{path} {error}")
            continue
        if changed:
            alike.setdefault(changed, []).append(path)
        read.append(path)
        arrays.append(image)
    for changed, (first, *more) in alike.items():
        as_well = f", and so with {len(more):,} more" if more else ""
        click.echo(f"Warning: {first} {changed}{as_well}.", err=True)
    if read:
        columns = model.encode(model.as_pixels(np.stack(arrays)))
        _write(_csv([str(path) for path in read], columns), out)
    if rejected:
        others = f"; the other {len(read)} were read" if read else ""
        raise UserError(f"{'; '.join(rejected)}{others}.")


def _csv(paths: Sequence[str], columns: "dict[str, np.ndarray]") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *columns])
    for place, path in enumerate(paths):
        values = (each[place] for each in columns.values())
        writer.writerow(
            [path, *(f"{v:.6g}" if isinstance(v, float) else v for v in map(_plain, values))]
        )
    return text.getvalue()


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _write(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text, nl=False)
        return
    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    click.echo(str(out))


def _refuse_suffix(out: Path, suffix: str) -> None:
    if out.suffix.lower() != suffix:
        raise UserError(f"--out is {out}, but must end in {suffix}.")


# --- compare -------------------------------------------------------------------------------------


@cli.command(
    epilog="""\b
Examples:
  infogan compare 3f2a1c9b 77d0e4aa --out curves.png
  infogan compare "mnist base seed 0" "mnist quick seed 0"
"""
)
@click.option("--out", type=click.Path(path_type=Path), help="A PNG file for the curves of L_I.")
@click.argument("runs", nargs=-1, required=True)
@_plainly
def compare(out: Path | None, runs: tuple[str, ...]) -> None:
    """Put runs of MLflow side by side: what they were, what they found, and how they learned.

    A RUN is an id, its beginning, or the name of a run, of which what stands before a comma is
    enough; of several of one name the newest. They are looked for in MLFLOW_TRACKING_URI, or else
    in the mlflow.db of the current folder.
    """
    from infogan.comparison import curves, find, table

    if out:
        _refuse_suffix(out, ".png")
    found = find(_store(), runs)
    for line in _aligned(table(found)):
        click.echo(line)
    if out:
        content = curves(_store(), found)
        with atomic(out) as temporary:
            temporary.write_bytes(content)
        click.echo(str(out))


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join([first, *others]).rstrip()


# --- explore -------------------------------------------------------------------------------------


@cli.command(
    epilog="""\b
Examples:
  infogan explore
  infogan explore --port 8080
"""
)
@click.option("--port", default=5002, show_default=True, type=click.IntRange(0, 65535))
@_plainly
def explore(port: int) -> None:
    """See in the browser what the codes of a trained model do.

    A page with a control for every code, for the models of this project in MLflow's registry. It
    is served on 127.0.0.1, to this machine only, until Ctrl-C.
    """
    from infogan.comparison import registered
    from infogan.explorer.app import Shelf, serve

    store = _store()
    serve(
        Shelf(lambda: registered(store), _load),
        port,
        lambda address: click.echo(f"{address} shows the explorer; Ctrl-C ends it."),
    )


# --- Where models and runs are -------------------------------------------------------------------


def _store() -> str:
    from infogan.tracking import sqlite

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return uri
    path = Path.cwd() / "mlflow.db"
    if not path.is_file():
        raise UserError(
            f"{path} is not there: change to the project's folder, train a model first (make "
            "run), or set MLFLOW_TRACKING_URI."
        )
    return sqlite(path)


def _load(uri: str) -> "Trained":
    if re.match(r"(models|runs):/", uri):
        return _from_mlflow(uri)
    from infogan.trained import Trained, card_and_arrays

    path = Path(uri)
    if not path.is_file():
        raise UserError(
            f"{uri} is not there: --model is a safetensors file, such as "
            "data/06_models/mnist/infogan.safetensors, or a model of MLflow, such as "
            "models:/infogan-mnist@best."
        )
    card, arrays = card_and_arrays(path)
    return Trained(card, arrays, {**_prepared(path, card), **_matched(path, arrays)})


def _prepared(path: Path, card: dict[str, Any]) -> dict[str, Any]:
    """How the images were made that a model was trained on; empty if unknown."""
    _, data = _left_beside(path, "05_model_input", "card.json")
    if not data or data["splits"]["train"]["sha256"] != card.get("data_sha256"):
        return {}
    return {"transforms": data["transforms"]}


def _matched(path: Path, arrays: "dict[str, np.ndarray]") -> dict[str, Any]:
    """What the evaluation of a model found; empty if unknown."""
    from infogan.datasets.values import Weights

    if path.stem != "infogan":  # that of another seed has other categories
        return {}
    found, matched = _left_beside(path, "07_model_output", "categories.json")
    if matched and matched.get("weights") != Weights(arrays, {}).digest:
        click.echo(
            f"Warning: {found} is of other weights than {path}, so its classes are left aside: "
            "evaluate it again.",
            err=True,
        )
        return {}
    return matched


def _left_beside(path: Path, layer: str, name: str) -> tuple[Path, dict[str, Any]]:
    """What another stage left of a model's data set, in its place among the data; or nothing.

    A link may be one to DVC's cache, or one from elsewhere to a model among its data.
    """
    for place in (Path(os.path.abspath(path)), path.resolve()):
        folder = place.parent
        folder = folder.parent if folder.name == "seeds" else folder
        try:
            found = folder.parents[1] / layer / folder.name / name
            return found, json.loads(found.read_text())
        except (IndexError, FileNotFoundError, json.JSONDecodeError):
            continue
    return path, {}


def _from_mlflow(uri: str) -> "Trained":
    """Weights and categories alone: nothing of the model's code is run."""
    from infogan.comparison import download
    from infogan.trained import Trained

    with download(_store(), uri) as folder:
        files = folder / "artifacts"
        if not (files / "categories.json").is_file():
            raise UserError(f"{uri} is no model of this project, or not the whole of one.")
        matched = json.loads((files / "categories.json").read_text())
        return Trained.load(files / "infogan.safetensors", matched)


def main() -> None:
    """``infogan`` by itself, and ``python -m infogan``, which without a command is `kedro run`."""
    arguments = sys.argv[1:]
    known = {*cli.commands, "-h", "--help"}
    cli.main(arguments if arguments and arguments[0] in known else ["run", *arguments])


__all__ = ["cli", "main"]
