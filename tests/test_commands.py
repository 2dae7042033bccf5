"""The command line, as a person types it."""

import csv
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from PIL import Image

from infogan import commands, comparison
from infogan.commands import cli
from infogan.datasets import ImageFolder, WeightsDataset
from infogan.datasets.values import Weights
from infogan.networks import build, to_arrays
from infogan.options import Data, Model, Source
from infogan.pipelines.ingestion.nodes import describe, preprocess
from infogan.trained import Trained

Run = Callable[..., Result]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *arguments: CliRunner().invoke(cli, [str(each) for each in arguments])


def refused(result: Result) -> str:
    """The sentence, told instead of a traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    lines = [line for line in result.output.splitlines() if not line.startswith("Warning")]
    (line,) = lines
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def match(saved_model: Path, weights: str | None = None, **more: Any) -> None:
    """What an evaluation leaves, of the model's weights or of others."""
    path = saved_model.parents[2] / "07_model_output" / "toy" / "categories.json"
    path.parent.mkdir(parents=True)
    weights = weights or WeightsDataset(str(saved_model)).load().digest
    found = {"code": "c1", "class_of_category": [5, -1, 2], "weights": weights, **more}
    path.write_text(json.dumps(found))
    os.utime(path, (0, 0))  # as dvc pull may leave it, older than the model


# --- generate ------------------------------------------------------------------------------------


def tiles(path: Path, rows: int, columns: int) -> np.ndarray:
    """The images of a grid, (rows, columns, 8, 8)."""
    with Image.open(path) as image:
        page = np.asarray(image)
    assert page.shape == (10 * rows + 2, 10 * columns + 2)
    page = page[2:, 2:].reshape(rows, 10, columns, 10).swapaxes(1, 2)
    return page[:, :, :8, :8]


def test_a_sweep_goes_from_left_to_right_and_draws_from_top_to_bottom(
    invoke: Run, saved_model: Path, tmp_path: Path
) -> None:
    match(saved_model)
    done = invoke(
        "generate", "--model", saved_model, "--codes", "digit=2, c2=-2:2:5", "--seed", 4,
        "--count", 3, "--out", "grid.png",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Warning: c2 is 2, but it was trained from -1 to 1" in done.output
    assert "grid.png: 15 images, 5 a row" in done.output
    grid = tiles(tmp_path / "grid.png", 3, 5)
    rows = [{"c1": 2, "c2": value} for value in (-2, -1, 0, 1, 2)]
    made = Trained.load(saved_model).generate(rows, 3, 4)[:, 0].reshape(5, 3, 8, 8)
    assert np.array_equal(grid, made.swapaxes(0, 1))


@pytest.mark.parametrize(("written", "category"), [("a=b:c", 0), ("007", 2)])
def test_a_class_may_be_given_by_its_name(
    invoke: Run, saved_model: Path, tmp_path: Path, written: str, category: int
) -> None:
    match(saved_model, class_names=["0", "1", "007", "3", "4", "a=b:c"])
    for name, codes in (("class", f"class={written}"), ("code", f"c1={category}")):
        done = invoke("generate", "--model", saved_model, "--codes", codes, "--out", f"{name}.png")
        assert done.exit_code == 0, done.output
    assert (tmp_path / "class.png").read_bytes() == (tmp_path / "code.png").read_bytes()
    done = invoke("generate", "--model", saved_model, "--codes", "class=x", "--out", "x.png")
    assert refused(done) == "class is x, but the classes are 007, a=b:c."


@pytest.mark.parametrize(
    ("codes", "count", "shape"),
    [
        ("", 5, (2, 3)),
        ("c1=0:2", 1, (1, 3)),
        ("c1=0:2,c2=0:1:4", 2, (6, 4)),
        ("c2=0.5", 1, (1, 1)),
    ],
)
def test_a_grid_has_a_place_for_every_image(
    invoke: Run, saved_model: Path, tmp_path: Path, codes: str, count: int, shape: tuple[int, int]
) -> None:
    done = invoke(
        "generate", "--model", saved_model, "--codes", codes, "--count", count, "--out", "g.png"
    )
    assert done.exit_code == 0, done.output
    tiles(tmp_path / "g.png", *shape)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (
            "c9=1",
            "'c9' is not a code of this model: it has c1 (0 to 2), c2 (trained from -1 to 1)",
        ),
        ("c1=3", "c1 is 3, but its categories are 0 to 2."),
        ("digit=1", "'digit' is matched to no classes: it has c1"),
        ("c1", "--codes has 'c1', but is written NAME=VALUE,NAME=VALUE."),
        ("c1=", "--codes has 'c1='"),
        ("c1=x", "c1 is 'x', but a value is a number, LOW:HIGH:STEPS, or FIRST:LAST"),
        ("c2=nan", "c2 is 'nan', but a value is a number"),
        ("c2=-1:1:2.5", "the steps from -1 to 1 must be a whole number"),
        ("c2=-1:0.5", "write -1:0.5:10"),
        ("c2=0:1:20000", "from 1 to 10,000"),
        ("c1=1,c1=2", "--codes gives c1 twice"),
        ("c2=0:1:2000,c3_0=0:1:2000", "4,000,000 images are asked for"),
    ],
)
def test_wrong_codes_are_a_sentence(
    invoke: Run, saved_model: Path, tmp_path: Path, codes: str, words: str
) -> None:
    done = invoke("generate", "--model", saved_model, "--codes", codes, "--out", "grid.png")
    assert words in refused(done)
    assert not (tmp_path / "grid.png").exists()


def test_wrong_files_are_a_sentence(invoke: Run, saved_model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_text("nothing")
    model = ("generate", "--model")
    assert "nope is not there: --model is a safetensors file" in refused(
        invoke(*model, "nope", "--out", "g.png")
    )
    assert "is no model of this project" in refused(
        invoke(*model, tmp_path / "bad.safetensors", "--out", "g.png")
    )
    assert "must end in .png" in refused(invoke(*model, saved_model, "--out", "g.jpg"))
    assert "mlflow.db is not there" in refused(invoke(*model, "models:/x@best", "--out", "g.png"))
    (tmp_path / "file").touch()
    assert "file" in refused(invoke(*model, saved_model, "--out", tmp_path / "file" / "g.png"))


def test_classes_of_another_training_are_left_aside(invoke: Run, saved_model: Path) -> None:
    match(saved_model, weights="0" * 64)
    done = invoke("generate", "--model", saved_model, "--codes", "digit=2", "--out", "g.png")
    assert "is of other weights than" in done.output
    assert "matched to no classes" in refused(done)


def test_a_model_that_is_a_link_has_its_classes(
    invoke: Run, saved_model: Path, tmp_path: Path
) -> None:
    match(saved_model)
    elsewhere = tmp_path / "infogan.safetensors"
    elsewhere.symlink_to(saved_model)
    asked = ("--codes", "digit=5", "--out", "g.png")
    assert invoke("generate", "--model", elsewhere, *asked).exit_code == 0
    cached = tmp_path / "3f" / "2a1c"  # as DVC keeps what it links to
    cached.parent.mkdir()
    saved_model.rename(cached)
    saved_model.symlink_to(cached)
    assert invoke("generate", "--model", saved_model, *asked).exit_code == 0


# --- encode --------------------------------------------------------------------------------------


def test_codes_are_a_row_an_image(invoke: Run, saved_model: Path, tmp_path: Path) -> None:
    match(saved_model)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (30, 20), "red").save(tmp_path / "b.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    (tmp_path / "text.png").write_text("hello")
    done = invoke(
        "encode", "--model", saved_model, "a.png", "b.png", "bad.png", "text.png", "no.png",
        "--out", "codes.csv",
    )  # fmt: skip
    assert "Warning: b.png is 3x20x30 and was made 1x8x8." in done.output
    assert done.output.splitlines()[-1] == (
        "Error: bad.png is cut short or damaged; text.png is no image (PNG, JPEG, WEBP, BMP, GIF, "
        "TIFF); no.png is not there; the other 2 were read."
    )
    assert done.exit_code == 1
    rows = list(csv.DictReader((tmp_path / "codes.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == ["a.png", "b.png"]
    assert sum(float(rows[0][f"c1_p{k}"]) for k in range(3)) == pytest.approx(1, abs=1e-5)
    assert rows[0]["class"] == {"0": "5", "1": "", "2": "2"}[rows[0]["c1"]]
    assert {"c2", "c2_sd", "c3_0", "c3_1_sd"} <= rows[0].keys()


@pytest.fixture
def ingested(model: Model, tmp_path: Path) -> tuple[list[str], np.ndarray]:
    """Raw images in files, what ingestion made of them, and models that were trained on it."""
    raw = np.random.default_rng(0).integers(0, 256, (6, 24, 20), np.uint8)
    for number, levels in enumerate(raw):
        Image.fromarray(levels).save(tmp_path / f"raw{number}.png")
    source = Source.model_validate({"files": [], "addresses": [], "path": str(tmp_path)})
    written = {"shape": [1, 8, 8], "transforms": ["center_crop 16x16", "resize 8x8"]}
    data = Data.model_validate({**written, "train": "all[0:4]", "test": "all[4:6]"})
    reader = ImageFolder(str(tmp_path)).load()
    (tmp_path / "work").mkdir()
    images, _, _, _, facts = preprocess(reader, tmp_path / "work", source, data)
    card = describe(images, facts, data)
    beside = tmp_path / "data" / "05_model_input" / "toy" / "card.json"
    beside.parent.mkdir(parents=True)
    beside.write_text(json.dumps(card))

    told = {"model": model.model_dump(mode="json"), "image_shape": [1, 8, 8]}
    told |= {"data_sha256": card["splits"]["train"]["sha256"]}
    weights = Weights(to_arrays(build(model, (1, 8, 8), 0)), told)
    for name in ("infogan", "seeds/3"):
        path = tmp_path / "data" / "06_models" / "toy" / f"{name}.safetensors"
        WeightsDataset(str(path)).save(weights)
    return list(reader(source).splits["all"].names or ())[:4], images["train"]


@pytest.mark.parametrize("name", ["infogan", "seeds/3"])
def test_a_raw_image_is_read_as_it_was_ingested(
    invoke: Run, ingested: tuple[list[str], np.ndarray], tmp_path: Path, name: str
) -> None:
    names, images = ingested
    for raw, image in zip(names, images, strict=True):
        Image.fromarray(image[0]).save(tmp_path / f"ingested_{raw}")
    model = f"data/06_models/toy/{name}.safetensors"
    tables = []
    for beginning in ("", "ingested_"):
        files = [f"{beginning}{each}" for each in names]
        done = invoke("encode", "--model", model, *files, "--out", "codes.csv")
        assert done.exit_code == 0, done.output
        lines = (tmp_path / "codes.csv").read_text().splitlines()
        tables.append([line.partition(",")[2] for line in lines])
    assert tables[0] == tables[1]


def test_transforms_of_other_images_are_left_aside(
    invoke: Run, ingested: tuple[list[str], np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "data" / "05_model_input" / "toy" / "card.json"
    card = json.loads(path.read_text())
    card["splits"]["train"]["sha256"] = "0bad"
    path.write_text(json.dumps(card))
    done = invoke("encode", "--model", "data/06_models/toy/infogan.safetensors", "raw0.png")
    assert "Warning: raw0.png is 1x24x20 and was made 1x8x8." in done.output


def test_images_that_are_changed_alike_are_mentioned_once(
    invoke: Run, saved_model: Path, tmp_path: Path
) -> None:
    wide, high = [tmp_path / f"{n}.png" for n in "acd"], tmp_path / "b.png"
    for path in wide:
        Image.new("L", (30, 20)).save(path)
    Image.new("L", (20, 30)).save(high)
    done = invoke("encode", "--model", saved_model, "a.png", "b.png", "c.png", "d.png")
    assert [line for line in done.output.splitlines() if line.startswith("Warning")] == [
        "Warning: a.png is 1x20x30 and was made 1x8x8, and so with 2 more.",
        "Warning: b.png is 1x30x20 and was made 1x8x8.",
    ]


def test_an_image_named_twice_has_two_rows_and_any_name_is_written(
    invoke: Run, saved_model: Path, tmp_path: Path
) -> None:
    odd = b"\xff\xfe.png".decode(errors="surrogateescape")
    Image.new("L", (8, 8)).save(tmp_path / odd)
    done = invoke("encode", "--model", saved_model, odd, odd, "--out", "codes.csv")
    assert done.exit_code == 0, done.output
    _, *rows = (tmp_path / "codes.csv").read_bytes().splitlines()
    assert [row.split(b",")[0] for row in rows] == [b"\xff\xfe.png"] * 2
    shown = invoke("encode", "--model", saved_model, odd)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout_bytes.splitlines()[1].split(b",")[0] == b"\xff\xfe.png"
    named = invoke("encode", "--model", saved_model, odd, "--out", "\udcff.csv")
    assert (named.exit_code, named.stdout_bytes) == (0, b"\xff.csv\n")


def test_codes_go_to_the_screen_unless_a_file_is_named(
    invoke: Run, saved_model: Path, tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    done = invoke("encode", "--model", saved_model, "a.png")
    assert done.exit_code == 0
    assert done.output.startswith("path,c1,c1_p0")
    assert "must end in .csv" in refused(
        invoke("encode", "--model", saved_model, "a.png", "--out", "x.txt")
    )
    assert refused(invoke("encode", "--model", saved_model, "no.png")) == "no.png is not there."


# --- run -----------------------------------------------------------------------------------------


def test_outside_of_a_project_nothing_is_run(invoke: Run) -> None:
    assert "is in no Kedro project: change to the project's folder" in refused(invoke("run"))


# --- compare -------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path, invoke: Run, empty_mlflow: Path) -> list[str]:
    """Two runs in the mlflow.db of the current folder, and one without a curve."""
    from mlflow.entities import Metric

    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("toy")
    ids = []
    for name, error in (("one", 0.25), ("two", 0.5), ("empty", None)):
        run = client.create_run(experiment, run_name=name, tags={"dataset": "toy"})
        ids.append(run.info.run_id)
        if error is not None:
            curve = [Metric("codes/c1.L_I", 0.1 * i, 0, 10 * i) for i in range(5)]
            finals = {
                "error_one_to_one": error,
                "lower_bound.c1": 1.0,
                "entropy.c1": 1.1,
                "information_real.c1": 0.8,
                "lower_bound.c2": -0.24,
                "entropy.c2": 0.693,
                "perfect.c2": -0.226,
                "lower_bound.c3": 1.4,
                "entropy.c3": 0.693,
            }
            finals_sent = [Metric(f"eval/{key}", value, 0, 0) for key, value in finals.items()]
            client.log_batch(ids[-1], metrics=[*curve, *finals_sent])
    client._tracking_client.store._dispose_engine()
    return ids


@pytest.mark.parametrize("address", ["htp://127.0.0.1", "sqlite:///no_database", "mlruns"])
@pytest.mark.parametrize(
    "command", [("compare", "one"), ("generate", "--model", "models:/x@best", "--out", "g.png")]
)
def test_an_address_that_is_no_store_is_a_sentence(
    invoke: Run, monkeypatch: pytest.MonkeyPatch, address: str, command: tuple[str, ...]
) -> None:
    Path("no_database").write_text("This is a text and no database of any kind.")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert refused(invoke(*command)).startswith(f"MLflow at {address}: ")


def test_a_model_of_another_project_is_named_as_such(
    invoke: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(comparison, "download", lambda *_: nullcontext(tmp_path / "gone"))
    told = refused(invoke("generate", "--model", "models:/other/1", "--out", "g.png"))
    assert told == "models:/other/1 is no model of this project, or not the whole of one."


def test_a_package_that_a_store_lacks_is_a_sentence() -> None:
    told = "MLflow at postgresql://…@host/db needs the package psycopg2, which is not installed."
    with (
        pytest.raises(comparison.UserError, match=re.escape(told)),
        comparison._answering("postgresql://bob:secret@host/db"),
    ):
        raise ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2")


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_runs_stand_side_by_side(invoke: Run, runs: list[str], tmp_path: Path) -> None:
    done = invoke("compare", "one", runs[1][:12], "--out", "curves.png")
    assert done.exit_code == 0, done.output
    lines = {line.split()[0]: line.split()[1:] for line in done.output.splitlines()}
    assert lines["run"] == [runs[0][:8], runs[1][:8]]
    assert lines["error_one_to_one"] == ["25.0%", "50.0%"]
    assert lines["lower_bound.c1"] == ["1.000", "of", "1.100"] * 2
    assert lines["lower_bound.c2"] == ["-0.240", "of", "-0.226"] * 2  # sigma is fixed
    assert lines["lower_bound.c3"] == ["1.4", "1.4"]  # sigma is learned, and L_I has no ceiling
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] > 300

    assert "'three' is no run in sqlite:///" in refused(invoke("compare", "three"))
    assert "the newest are" in refused(invoke("compare", "three"))
    assert (
        "none of these runs has a curve"
        in (invoke("compare", "empty", "--out", "c.png").output.splitlines()[-1])
    )
    alias = refused(invoke("generate", "--model", "models:/x@best", "--out", "g.png"))
    assert "x" in alias
    assert alias.startswith("MLflow at sqlite:///")


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_the_store_of_a_folder_is_found_whatever_that_is_called(
    invoke: Run, runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "My%20Project"
    folder.mkdir()
    shutil.move(tmp_path / "mlflow.db", folder)
    monkeypatch.chdir(folder)
    done = invoke("compare", "one")
    assert done.exit_code == 0, done.output
    assert runs[0][:8] in done.output


def test_a_curve_may_be_of_a_run_of_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SimpleNamespace(get_metric_history=lambda *_: [SimpleNamespace(step=0, value=1.0)])
    monkeypatch.setattr(comparison, "_client", lambda _: client)
    run = SimpleNamespace(
        info=SimpleNamespace(run_id="a" * 32, run_name="path=/$data/x_$^"),
        data=SimpleNamespace(metrics={"codes/c1.L_I": 1.0}),
    )
    assert comparison.curves("sqlite:///mlflow.db", [run]).startswith(b"\x89PNG")  # type: ignore[list-item]


def test_the_beginning_of_an_id_must_say_which() -> None:
    made = [
        SimpleNamespace(info=SimpleNamespace(run_id=each, run_name=name))
        for each, name in (("abcd1", "x"), ("abcd2", "y"), ("beef", "z, 10 it"), ("cafe", "z"))
    ]
    pick: Any = lambda text: comparison._one("uri", made, text).info.run_id  # type: ignore[arg-type] # noqa: E731
    assert pick("abcd1") == "abcd1"
    assert pick("z") == pick("z, 10 it") == "beef"
    for text in ("abcd", "abc"):
        with pytest.raises(comparison.UserError, match=r"beginning of 2 runs|is no run"):
            pick(text)


# --- explore -------------------------------------------------------------------------------------


def test_without_a_registry_there_is_nothing_to_explore(invoke: Run) -> None:
    told = (
        "mlflow.db is not there: change to the project's folder, train a model first (make run), "
        "or set MLFLOW_TRACKING_URI."
    )
    assert refused(invoke("explore")).endswith(told)
    model = ("--model", "models:/infogan-digits@best")
    assert refused(invoke("generate", *model, "--out", "x.png")).endswith(told)


def test_a_port_that_is_taken_is_a_sentence(
    invoke: Run, tmp_path: Path, empty_mlflow: Path
) -> None:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} cannot be used" in refused(invoke("explore", "--port", port))


# --- The command itself --------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["generate", "encode", "compare", "explore"])
def test_every_command_shows_examples(invoke: Run, command: str) -> None:
    done = invoke(command, "--help")
    assert done.exit_code == 0
    assert "Examples:" in done.output
    assert f"\n    infogan {command} " in done.output


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ([], ["run"]),
        (["--env=smoke"], ["run", "--env=smoke"]),
        (["run", "--env=smoke"], ["run", "--env=smoke"]),
        (["generate", "--help"], ["generate", "--help"]),
        (["--help"], ["--help"]),
    ],
)
def test_python_m_infogan_without_a_command_is_kedro_run(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], expected: list[str]
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(commands.sys, "argv", ["infogan", *typed])
    monkeypatch.setattr(cli, "main", given.append)
    commands.main()
    assert given == [expected]
