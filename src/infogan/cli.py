"""`kedro run`, with errors a person can mend told in a sentence instead of a traceback."""

import errno
import functools
import re
import warnings
from collections.abc import Callable, Iterator
from copy import copy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
import yaml
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError
from kedro.validation import ParameterValidationError
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from infogan.errors import UserError

_KEDROS_SENTENCES = (
    "Failed to find the pipeline named",
    "Pipeline contains no nodes",
    "Pipeline does not contain nodes",
    "Pipeline does not contain datasets",
    "Pipeline input(s)",
    "Duplicate keys found",
)


def explanation(error: BaseException) -> str | None:
    """The sentence for an error, or None if it is a bug and deserves its traceback."""
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, ParameterValidationError):
            return str(cause)
        if isinstance(cause, OSError) and cause.strerror:
            where = f" {cause.filename}" if cause.filename else ""
            sentence = f"{cause.strerror}:{where or ' no file is named'}."
            if cause.errno == errno.ENOSPC:
                sentence += (
                    " Make room and give the same command again; a training goes on from its last "
                    "checkpoint."
                )
            return sentence
        if isinstance(cause, MissingConfigException):
            return _no_such_folder(str(cause))
        if isinstance(cause, OmegaConfBaseException):
            return f"The configuration cannot be read: {cause}"
        if isinstance(cause, yaml.YAMLError | UnicodeDecodeError):
            return f"A file of the configuration cannot be read: {cause}"
        # Kedro's own: names that do not exist.
        if isinstance(cause, ValueError) and str(cause).startswith(_KEDROS_SENTENCES):
            return str(cause)
        if isinstance(cause, KedroCliError):
            return cause.message
        if isinstance(cause, AttributeError) and "'kedro.runner'" in str(cause):
            return "--runner names none of Kedro's runners: leave it out."
    return None


def _no_such_folder(kedros: str) -> str:
    """Kedro names the folder that is not there; beside it are those that could be meant."""
    found = re.search(r"directory: (.+)$", kedros)
    folder = Path(found[1]) if found else Path()
    if folder.name == "local":
        return f"{folder} is missing: make that folder, which may be empty."
    known = sorted(each.parent.name for each in folder.parent.glob("*/globals.yml"))
    if not found or not known:
        return f"The configuration cannot be read: {kedros}"
    close = get_close_matches(folder.name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
    return f"There is no environment {folder.name} in {folder.parent}; {hint}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _plainly(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def call(*args: Any, **kwargs: Any) -> Any:
        # People type --pipeline; Kedro 1.7 announces its end, and this project stays below 2.
        warnings.filterwarnings("ignore", message=".*--pipeline' is deprecated")
        try:
            return callback(*args, **kwargs)
        except Exception as error:
            text = explanation(error)
            if text is None:
                raise
            raise click.ClickException(text) from None

    return call


def parameters(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """What ``--params`` says. A path is taken as it is typed, even with commas or as a number."""
    if not isinstance(value, str):
        return value
    items = re.split(r",(?=\s*[\w.-]+=)", value) if value else []
    for item in items:
        if not item.partition("=")[1] or not item.partition("=")[0].strip():
            context.fail(f"--{option.name} has {item!r}, but is written KEY=VALUE,KEY=VALUE.")
    pairs = (item.strip().split("=", maxsplit=1) for item in items)
    if any("\udc80" <= each <= "\udcff" for each in value):
        context.fail(
            f"--{option.name} has {value!r}, which is not UTF-8: rename what is called so, or "
            "give a link to it."
        )
    quoted = [f"{key.strip()}={_text(key, written)}" for key, written in pairs]
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(quoted))
    except (yaml.YAMLError, OmegaConfBaseException):
        context.fail(
            f"--{option.name} has {value!r}, which cannot be read: a value with brackets, spaces "
            "or quotation marks wants the whole option in quotes, such as "
            "--params='digits.training.seeds=[0, 1]'."
        )


def _text(key: str, written: str) -> str:
    """YAML of a value: of a path, the text itself, unless it is in quotes already."""
    weights = key.strip().endswith(".inception_weights") and written != "null"
    is_path = weights or key.strip().endswith(".path")
    if not is_path or re.fullmatch(r"'.*'|\".*\"", written):
        return written
    return "'" + written.replace("'", "''").replace("${", r"\${") + "'"


def _option(option: click.Parameter) -> click.Parameter:
    """An option of Kedro's, of which only the reading of parameters is our own."""
    own = copy(option)
    if own.name == "params":
        own.callback = parameters
    return own


@click.group()
def cli() -> None:
    """Commands of this project."""


assert kedro_run.callback is not None
cli.add_command(
    click.Command(
        "run",
        callback=_plainly(kedro_run.callback),
        params=[_option(option) for option in kedro_run.params],
        help=kedro_run.help,
    )
)
