"""What the documentation shows runs as shown."""

import re
from pathlib import Path

import numpy as np
import pytest
from kedro_project import ROOT, Project

from infogan.options import BLOCKS


def python_block(document: str, first_words: str) -> str:
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", (ROOT / document).read_text(), re.M | re.S)
    (block,) = [each for each in blocks if first_words in each]
    indent = len(block) - len(block.lstrip())
    return "\n".join(line[indent:] for line in block.splitlines())


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


def test_the_reader_shown_for_a_new_dataset_reads(tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "shapes"}
    exec(python_block("docs/adding-a-dataset.md", "class Shapes"), names)
    np.save(tmp_path / "shapes.npy", np.ones((3, 1, 32, 32), np.uint8))
    split = names["Shapes"](str(tmp_path)).load().splits["all"]  # type: ignore[operator]
    assert len(split.images) == 3
    assert split.labels is None


def test_every_link_to_a_file_leads_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readme_lists_the_environments_and_stages_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    for environment in ("quick", "official", "smoke"):
        assert f"--env={environment}" in readme
        assert (ROOT / "conf" / environment).is_dir()


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*/parameters_*.yml")), ids=str)
def test_a_parameter_file_states_its_command_and_knows_only_its_dataset(path: Path) -> None:
    text = path.read_text()
    dataset = path.stem.removeprefix("parameters_")
    assert re.search(r"^#   kedro run", text, re.M)
    assert re.findall(r"^(\w+):", text, re.M) == [dataset]
    assert set(re.findall(r"^  (\w+):", text, re.M)) <= set(BLOCKS)
    assert "${" not in text, "DVC reads literal values only"
