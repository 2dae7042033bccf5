"""Sphinx: these pages, the README and the docstrings as a site. `make docs` builds it."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

project = "infogan"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3  # page.md#a-heading, as on GitHub

html_theme = "furo"
html_title = "InfoGAN, reproducible"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
default_role = "literal"  # docstrings write `name`, as Markdown does


def show_the_readme(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Put the README in the place of index.md's include, with its links seen from this folder."""
    if docname == "index":
        readme = (ROOT / "README.md").read_text()
        here = re.sub(r"\]\((?!\w+:|#)", "](../", readme).replace("](../docs/", "](")
        source[0] = source[0].replace("{{ README }}", here)
        app.env.note_dependency("../README.md")


def escape_bars(
    _app: "Sphinx", _what: str, _name: str, _of: object, _options: object, lines: list[str]
) -> None:
    """|x| in a docstring is an absolute value, no substitution of reStructuredText."""
    lines[:] = [re.sub(r"(?<![\w`])\|(?=\S)", r"\\|", line) for line in lines]


def setup(app: "Sphinx") -> None:
    """Sphinx calls this."""
    app.connect("source-read", show_the_readme)
    app.connect("autodoc-process-docstring", escape_bars)
