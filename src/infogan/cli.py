"""`kedro run`, with errors a person can mend told in a sentence instead of a traceback."""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.validation import ParameterValidationError

from infogan.errors import UserError


def explanation(error: BaseException) -> str | None:
    """The sentence for an error, or None if it is a bug and deserves its traceback."""
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, ParameterValidationError):
            return str(cause)
        if isinstance(cause, OSError) and cause.strerror:
            where = f" {cause.filename}" if cause.filename else ""
            return f"{cause.strerror}:{where or ' no file is named'}."
        # Kedro's own: a pipeline or a dataset of a name that does not exist.
        if isinstance(cause, ValueError) and "Failed to find the pipeline named" in str(cause):
            return str(cause)
    return None


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


@click.group()
def cli() -> None:
    """Commands of this project."""


assert kedro_run.callback is not None
cli.add_command(
    click.Command(
        "run",
        callback=_plainly(kedro_run.callback),
        params=kedro_run.params,
        help=kedro_run.help,
    )
)
