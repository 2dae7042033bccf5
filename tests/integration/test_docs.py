"""What the documentation shows runs as shown."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import yaml
from kedro_project import ROOT, Project

from infogan.options import BLOCKS, FURTHER_BLOCKS


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page, without the indentation of the list they stand in."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [dedent(block) for block in found]


def python_block(document: str, first_words: str) -> str:
    each = blocks((ROOT / document).read_text(), "python")
    (block,) = [block for block in each if first_words in block]
    return block


def test_the_readme_shows_how_to_use_a_saved_model(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared.folder / "data" / "smoke")
    block = python_block("README.md", "rebuild(").replace('"data/', '"')
    names: dict[str, object] = {}
    exec(block, names)
    images = names["images"]
    assert images.shape == (10, 1, 8, 8)  # type: ignore[attr-defined]
    assert 0 <= images.min() <= images.max() <= 1  # type: ignore[attr-defined]


def test_every_link_to_a_file_leads_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).with_suffix("").as_posix() for page in docs.rglob("*.md")}
    trees = re.findall(r"^```{toctree}\n(.*?)^```", (docs / "index.md").read_text(), re.S | re.M)
    named = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    assert sorted(named) == sorted(pages - {"index"})


def build_site(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does."""
    options = ("--fail-on-warning", "--keep-going", "--quiet", f"--doctree-dir={site}.doctrees")
    command = [sys.executable, "-m", "sphinx", "--builder=html", *options, str(docs), str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Assets(HTMLParser):
    """What a browser fetches by itself to show a page; links that a person follows are no part."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "srcset", "data", "poster") + (("href",) if tag == "link" else ())
        self.found += [value for name, value in attrs if name in names and value]


def test_the_site_builds_without_a_warning_and_shows_itself_without_the_internet(
    tmp_path: Path,
) -> None:
    """A broken link within it, also to a heading, is a warning, and so is a page in no menu."""
    pytest.importorskip("furo")
    done = build_site(ROOT / "docs", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = {
        path.relative_to(tmp_path / "site").as_posix(): path.read_text()
        for path in tmp_path.glob("site/**/*.html")
    }
    assert "<h1>InfoGAN, reproducible" in pages["index.html"]
    assert 'id="infogan.codes.LatentSpace.sample"' in pages["api.html"]
    for name, page in pages.items():
        assert "_static/styles/furo.css" in page
        for address in Assets(page).found:
            file = (tmp_path / "site" / name).parent / re.sub(r"[?#].*", "", address)
            assert address.startswith(("data:", "#")) or file.is_file(), f"{name}: {address}"
    for style in tmp_path.glob("site/_static/**/*.css"):
        assert not re.search(r"(url\(|@import)\W*(\w+:)?//", style.read_text()), style


def test_the_readme_lists_the_environments_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    environments = {path.parent.name for path in ROOT.glob("conf/*/globals.yml")}
    for environment in environments - {"base"}:
        assert f"--env={environment}" in readme


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*/parameters_*.yml")), ids=str)
def test_a_parameter_file_states_its_command_and_knows_only_its_dataset(path: Path) -> None:
    text = path.read_text()
    dataset = path.stem.removeprefix("parameters_")
    assert re.search(r"^#   kedro run", text, re.M)
    assert re.findall(r"^(\w+):", text, re.M) == [dataset]
    assert set(re.findall(r"^  (\w+):", text, re.M)) <= {*BLOCKS, *FURTHER_BLOCKS}
    assert "${" not in text, "DVC reads literal values only"


def test_a_data_set_is_added_as_its_page_says(project: Project) -> None:
    page = (ROOT / "docs" / "adding-a-dataset.md").read_text()
    (reader,) = blocks(page, "python")
    parameters, entry = blocks(page, "yaml")
    package = project.folder / "src" / "infogan"

    # 1. The reader, and its name among the others.
    (package / "datasets" / "shapes.py").write_text(f'"""Toy."""\n\n{reader}')
    names = package / "datasets" / "__init__.py"
    names.write_text(names.read_text() + "from infogan.datasets.shapes import Shapes\n")
    # 2. The parameters: what stands on the page, the rest as in those of digits.
    conf = project.folder / "conf" / "base"
    digits = yaml.safe_load((conf / "parameters_digits.yml").read_text())["digits"]
    del digits["study"], digits["training"]["clustering"]
    written = {"shapes": {**digits, **yaml.safe_load(parameters)}}
    (conf / "parameters_shapes.yml").write_text(yaml.safe_dump(written))
    (conf.parent / "smoke" / "parameters_shapes.yml").write_text("shapes: {}")
    # 3. The catalog entry.
    catalog = conf / "catalog.yml"
    catalog.write_text(catalog.read_text() + entry)
    # 4. The name.
    registry = package / "pipeline_registry.py"
    registry.write_text(registry.read_text().replace('"folder")', '"folder", "shapes")'))
    # And the raw files.
    random = np.random.default_rng(0)
    raw = project.data("01_raw", "shapes")
    raw.mkdir(parents=True)
    sizes = random.integers(1, 8, (200, 1))
    images = np.zeros((200, 1, 8, 8), np.uint8)
    for image, size in zip(images, sizes[:, 0], strict=True):
        image[:, :size, :size] = 255
    np.save(raw / "shapes.npy", images)
    np.save(raw / "sizes.npy", sizes)

    project.variables["PYTHONPATH"] = str(project.folder / "src")
    short = "iterations=4,baseline_iterations=0,evaluation_samples=100,batch_size=16"
    short = ",".join(f"shapes.training.{each}" for each in short.split(","))
    done = project.run("--pipelines=shapes", f"--params={short},shapes.evaluation.samples=100")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(project.data("08_reporting/shapes/metrics.json").read_text())
    assert 0 <= metrics["correlation.size"] <= 1
    assert "error_one_to_one" not in metrics
