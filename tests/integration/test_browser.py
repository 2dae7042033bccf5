"""The explorer in a real browser, as a person uses it."""

import base64
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import NEEDED, Tab, chromium
from click.testing import CliRunner
from kedro_project import ROOT, Project
from mlflow import MlflowClient
from PIL import Image

from infogan.commands import cli
from infogan.datasets import WeightsDataset
from infogan.datasets.values import Weights
from infogan.networks import build, to_arrays
from infogan.options import Model
from infogan.registry import Candidate, publish
from infogan.trained import Trained

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

MATCHED = {"code": "c1", "class_of_category": [5, -1, 2]}


# --- The browser itself --------------------------------------------------------------------------


def test_without_a_browser_tests_are_skipped_but_fail_where_one_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(NEEDED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium is not installed"), chromium():
        pass
    monkeypatch.setenv(NEEDED, "1")
    with (
        pytest.raises(pytest.fail.Exception, match=f"not installed.*{NEEDED} is set"),
        chromium(),
    ):
        pass


def test_a_tab_reports_errors_and_never_leaves_this_machine(tab: Callable[..., Tab]) -> None:
    opened = tab(width=360, dark=True)
    opened.page.set_content(
        "<img src='http://example.org/a.png'><script>console.error('lost'); throw 'hay'</script>"
    )
    opened.page.wait_for_load_state()
    assert opened.outside == ["http://example.org/a.png"]
    assert {"lost", "hay"} <= set(opened.complaints)
    assert opened.page.evaluate("innerWidth") == 360
    assert opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


# --- A registry, its models, and the explorer ----------------------------------------------------


def save(path: Path, model: Model, shape: tuple[int, ...]) -> Path:
    """An untrained model, whose images and readings differ visibly from code to code."""
    arrays = to_arrays(build(model, shape, 0))
    arrays |= {name: 20 * array for name, array in arrays.items() if array.ndim > 1}
    card = {"model": model.model_dump(mode="json"), "image_shape": list(shape)}
    WeightsDataset(str(path)).save(Weights(arrays, card))
    return path


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path, make_model: Callable[..., Model]
) -> Path:
    """A folder with an mlflow.db: infogan-toy, grey, and infogan-colour, without classes."""
    grey = make_model()
    colour = make_model(
        codes=["c1 categorical 20", "c2 uniform -1 1"],
        generator=[*map(str, grey.generator[:2]), "upconv 3 s2 sigmoid"],
    )
    folder = tmp_path_factory.mktemp("explorer")
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("toy", (folder / "artifacts").as_uri())
    for name, model, shape, matched in (
        ("colour", colour, (3, 8, 8), {}),
        ("toy", grey, (1, 8, 8), MATCHED),
    ):
        run = client.create_run(experiment, run_name=f"{name} smoke seed 0")
        weights = save(folder / name / "infogan.safetensors", model, shape)
        metrics = {"error_one_to_one": 0.2}
        candidate = Candidate(f"infogan-{name}", name, weights, matched, metrics, "abc", True)
        publish(client, run.info.run_id, candidate)
    client._tracking_client.store._dispose_engine()
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    return Trained.load(folder / "toy" / "infogan.safetensors", MATCHED)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Of `infogan explore`, which ends by Ctrl-C without a word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infogan", "explore", "--port=0"],
        cwd=folder,
        env=Project(folder).environment() | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.match(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found, process.communicate()[1]
        yield found.group()
    finally:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")


class Explorer:
    """The page, by what a person sees of it."""

    def __init__(self, tab: Tab, address: str) -> None:
        from playwright.sync_api import expect

        expect.set_options(timeout=60_000)
        self.expect = expect
        self.tab = tab
        self.page: Page = tab.page
        self.page.goto(address)
        self.has("c1 0 (class 5), c2 0.00, c3_0 2.00, c3_1 2.00")

    def has(self, codes: str, seed: int = 0) -> None:
        """Wait until the picture is that of these codes and of this seed."""
        self.expect(self.page.locator("#caption")).to_have_text(f"{codes}, seed {seed}")

    def waits_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(10)

    def slider(self, code: str) -> "Locator":
        return self.page.get_by_role("slider", name=code, exact=True)

    def category(self, code: str, name: str) -> "Locator":
        group = self.page.get_by_role("group", name=code, exact=True)
        return group.get_by_role("radio", name=name, exact=True)

    def seed(self) -> "Locator":
        return self.page.get_by_role("spinbutton", name="Noise, seed")

    def tiles(self) -> "Locator":
        return self.page.get_by_role("region", name="What c").get_by_role("button")

    def nearest(self) -> "Locator":
        return self.page.get_by_role("button", name="Generation at distance")

    def choose_file(self, content: bytes | Path, name: str = "mine.png") -> None:
        files: Any = str(content) if isinstance(content, Path) else None
        given = {"name": name, "mimeType": "image/png", "buffer": content}
        self.page.get_by_label("Choose an image file").set_input_files(files or given)


@pytest.fixture
def opens(tab: Callable[..., Tab], address: str) -> Callable[..., Explorer]:
    return lambda **looks: Explorer(tab(**looks), address)


@pytest.fixture
def explorer(opens: Callable[..., Explorer]) -> Iterator[Explorer]:
    opened = opens()
    yield opened
    assert opened.tab.complaints == []
    assert opened.tab.outside == []


LEVELS = """canvas => {
    const {width, height} = canvas;
    return [height, width, [...canvas.getContext("2d").getImageData(0, 0, width, height).data]];
}"""


def pixels(canvas: "Locator") -> np.ndarray:
    """What a canvas shows, uint8 (H, W, 3)."""
    height, width, levels = canvas.evaluate(LEVELS)
    image = np.array(levels, np.uint8).reshape(height, width, 4)
    assert (image[..., 3] == 255).all()
    return image[..., :3]


def shows(canvas: "Locator", image: np.ndarray) -> None:
    """A grey image (1, H, W), but for what one batch may round otherwise than another."""
    seen = pixels(canvas).astype(int)
    assert np.abs(seen - image.transpose(1, 2, 0).astype(int)).max() <= 1


def shows_picture(explorer: Explorer, image: np.ndarray) -> None:
    shows(explorer.page.locator("#image"), image)


START = {"c1": 0, "c2": 0.0, "c3_0": 2.0, "c3_1": 2.0}


def an_image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Image.fromarray(an_image()).save(tmp_path / "mine.png")
    return tmp_path / "mine.png"


# --- Codes ---------------------------------------------------------------------------------------


def test_the_picture_is_what_the_model_makes_of_the_codes(
    explorer: Explorer, trained: Trained
) -> None:
    """Turned from the keyboard."""
    shows_picture(explorer, trained.generate([START], 1, 0)[0])
    explorer.slider("c2").focus()
    for _ in range(30):
        explorer.page.keyboard.press("ArrowRight")
    explorer.has("c1 0 (class 5), c2 1.50, c3_0 2.00, c3_1 2.00")
    assert explorer.slider("c2").get_attribute("aria-valuetext") == (
        "1.50, beyond the trained range"
    )
    explorer.category("c1", "0 class 5").focus()
    explorer.page.keyboard.press("ArrowRight")
    explorer.page.keyboard.press("ArrowRight")
    explorer.has("c1 2 (class 2), c2 1.50, c3_0 2.00, c3_1 2.00")
    made = trained.generate([{**START, "c1": 2, "c2": 1.5}], 1, 0)[0]
    assert not np.array_equal(made, trained.generate([START], 1, 0)[0])
    shows_picture(explorer, made)


@pytest.mark.parametrize(
    ("code", "least", "most"), [("c2", "-2", "2"), ("c3_0", "-2", "6"), ("c3_1", "-2", "6")]
)
def test_a_slider_goes_twice_as_far_as_the_code_was_trained(
    explorer: Explorer, code: str, least: str, most: str
) -> None:
    slider = explorer.slider(code)
    assert (slider.get_attribute("min"), slider.get_attribute("max")) == (least, most)
    assert slider.evaluate(
        "e => [e.style.getPropertyValue('--low'), e.style.getPropertyValue('--high')]"
    ) == [
        "0.25",
        "0.75",
    ]  # the trained part


def test_a_category_says_which_class_it_was_matched_to(explorer: Explorer) -> None:
    group = explorer.page.get_by_role("group", name="c1", exact=True)
    assert group.locator(".cells label").all_inner_texts() == [
        "0\nclass 5",
        "1\nno class",
        "2\nclass 2",
    ]


def test_the_strip_sweeps_the_code_that_was_touched_and_a_click_chooses(
    explorer: Explorer, trained: Trained
) -> None:
    # 1. The first code, at the start.
    assert explorer.tiles().count() == 3
    # 2. One that is turned.
    explorer.slider("c2").press("ArrowRight")
    explorer.has("c1 0 (class 5), c2 0.05, c3_0 2.00, c3_1 2.00")
    assert explorer.tiles().count() == 9
    values = [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2]
    made = trained.generate([{**START, "c2": value} for value in values], 1, 0)
    for tile, image in zip(explorer.tiles().all(), made, strict=True):
        shows(tile.locator("canvas"), image)
    explorer.page.get_by_role("button", name="c2 −1.50").click()
    explorer.has("c1 0 (class 5), c2 −1.50, c3_0 2.00, c3_1 2.00")
    shows_picture(explorer, made[1])
    assert explorer.slider("c2").input_value() == "-1.5"
    chosen = explorer.page.get_by_role("button", pressed=True)
    assert chosen.get_attribute("aria-label") == "c2 −1.50"
    # 3. One that is selected, without turning it.
    explorer.page.get_by_role("radio", name="c3_1 in the strip").check()
    explorer.page.get_by_role("button", name="c3_1 6.00").wait_for()
    assert explorer.page.get_by_role("heading", name="What c3_1 does").is_visible()
    explorer.has("c1 0 (class 5), c2 −1.50, c3_0 2.00, c3_1 2.00")


def test_the_strip_follows_the_noise_and_the_other_codes(
    explorer: Explorer, trained: Trained, png: Path
) -> None:
    explorer.slider("c2").press("End")
    explorer.has("c1 0 (class 5), c2 2.00, c3_0 2.00, c3_1 2.00")
    tile = explorer.page.get_by_role("button", name="c2 1.50").locator("canvas")
    before = pixels(tile)
    explorer.seed().fill("4")
    explorer.has("c1 0 (class 5), c2 2.00, c3_0 2.00, c3_1 2.00", 4)
    made = trained.generate([{**START, "c2": 1.5}], 1, 4)[0]
    assert not np.array_equal(pixels(tile), before)
    shows(tile, made)
    # A generation that is chosen changes all codes at once; the strip remains that of c2.
    explorer.choose_file(png)
    chosen = explorer.nearest().first
    chosen.click()
    caption = explorer.page.locator("#caption")
    explorer.expect(caption).to_contain_text("c1 1 (no class)")
    command = explorer.page.locator("#command").inner_text()
    seed = int(command.split("--seed ")[1].split()[0])
    codes = command.split("--codes ")[1].split()[0].split(",")
    row = {name: float(value) for name, value in (code.split("=") for code in codes)}
    explorer.category("c1", "0 class 5").check()
    explorer.page.get_by_role("radio", name="c2 in the strip").check()
    explorer.expect(caption).to_contain_text("c1 0 (class 5)")
    chosen.click()
    explorer.expect(caption).to_contain_text("c1 1 (no class)")
    shows(tile, trained.generate([{**row, "c2": 1.5}], 1, seed)[0])


def test_dragging_never_queues_up(explorer: Explorer) -> None:
    """However often a slider moves while an answer is awaited, one more is asked for, the last."""
    explorer.slider("c2").press("ArrowRight")
    explorer.has("c1 0 (class 5), c2 0.05, c3_0 2.00, c3_1 2.00")
    held: list[Route] = []
    explorer.page.route("**/images", lambda route: held.append(route))  # noqa: PLW0108
    move = "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }"
    for step in range(41):
        explorer.slider("c2").evaluate(move, step / 40)
    explorer.waits_for(lambda: len(held) > 0)
    held[0].continue_()
    explorer.waits_for(lambda: len(held) > 1)
    held[1].continue_()
    explorer.has("c1 0 (class 5), c2 1.00, c3_0 2.00, c3_1 2.00")
    assert len(held) == 2
    sent = json.loads(held[1].request.post_data or "")
    assert sent == {"rows": [{**START, "c2": 1}], "seed": 0}  # the strip stays as it is


# --- Noise, and the command ----------------------------------------------------------------------


def test_the_noise_is_drawn_anew_and_its_seed_is_shown_and_can_be_set(
    explorer: Explorer, trained: Trained
) -> None:
    explorer.page.get_by_role("button", name="New noise").click()
    seed = int(explorer.seed().input_value())
    explorer.has("c1 0 (class 5), c2 0.00, c3_0 2.00, c3_1 2.00", seed)
    shows_picture(explorer, trained.generate([START], 1, seed)[0])
    explorer.seed().fill("12")
    explorer.has("c1 0 (class 5), c2 0.00, c3_0 2.00, c3_1 2.00", 12)
    made = trained.generate([START], 1, 12)[0]
    assert not np.array_equal(made, trained.generate([START], 1, seed)[0])
    shows_picture(explorer, made)


@pytest.mark.parametrize("wrong", ["", "-1", "0.5"])
def test_a_seed_that_is_none_is_marked_and_the_last_one_stays(
    explorer: Explorer, wrong: str
) -> None:
    explorer.seed().fill("12")
    explorer.seed().fill(wrong)
    assert explorer.seed().evaluate("e => !e.validity.valid")
    explorer.slider("c2").press("End")
    explorer.has("c1 0 (class 5), c2 2.00, c3_0 2.00, c3_1 2.00", 12)
    assert "--seed 12 " in explorer.page.locator("#command").inner_text()


def test_the_command_that_is_copied_makes_this_picture(
    explorer: Explorer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer.slider("c3_1").press("End")
    explorer.category("c1", "2 class 2").check()
    explorer.seed().fill("3")
    explorer.slider("c2").press("ArrowLeft")
    explorer.has("c1 2 (class 2), c2 −0.05, c3_0 2.00, c3_1 6.00", 3)
    explorer.page.get_by_role("button", name="Copy").click()
    explorer.expect(explorer.page.get_by_role("status")).to_have_text("The command is copied.")
    command = explorer.page.evaluate("navigator.clipboard.readText()")
    assert command == (
        "infogan generate --model models:/infogan-toy/1 --codes c1=2,c2=-0.05,c3_0=2,c3_1=6 "
        "--seed 3 --out image.png"
    )
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = command.replace("image.png", str(tmp_path / "image.png")).split()[1:]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "image.png") as image:
        made = np.asarray(image)[2:-2, 2:-2]
    shows_picture(explorer, made[None])


# --- A person's image ----------------------------------------------------------------------------


def test_a_chosen_image_shows_its_codes_and_its_nearest_generations(
    explorer: Explorer, trained: Trained, png: Path
) -> None:
    explorer.choose_file(png)
    explorer.expect(explorer.nearest()).to_have_count(5)
    columns = {k: v[0] for k, v in trained.encode(trained.as_pixels(an_image()[None])).items()}
    section = explorer.page.get_by_role("region", name="Your image")
    classes = ("class 5", "no class", "class 2")
    assert section.get_by_role("heading", name="c1: most likely").inner_text() == (
        f"c1: most likely {columns['c1']} ({classes[columns['c1']]})"
    )
    shares = section.get_by_role("listitem").all_inner_texts()
    for k, text in enumerate(shares):
        category, known, percent = text.split("\n")
        assert (category, known) == (str(k), classes[k])
        assert float(percent.removesuffix(" %")) == pytest.approx(100 * columns[f"c1_p{k}"], abs=1)
    for code in ("c2", "c3_0", "c3_1"):
        text = f"{columns[code]:.2f} ± {columns[f'{code}_sd']:.2f}".replace("-", "−")
        assert f"{code}\n{text}" in section.inner_text()
    seen = section.get_by_role("img", name="mine.png as the model sees it")
    assert np.array_equal(pixels(seen)[..., 0], an_image())


def test_a_click_on_a_nearest_generation_makes_it_the_picture(
    explorer: Explorer, png: Path
) -> None:
    explorer.choose_file(png)
    explorer.expect(explorer.nearest()).to_have_count(5)
    tile = explorer.nearest().nth(1)
    (seed,) = re.findall(r"seed (\d+)", tile.inner_text())
    image = pixels(tile.locator("canvas"))
    tile.click()
    explorer.expect(explorer.page.locator("#caption")).to_contain_text(f", seed {seed}")
    assert explorer.seed().input_value() == seed
    shows_picture(explorer, image.transpose(2, 0, 1))
    assert explorer.page.evaluate("document.activeElement.id") == "picture"


DROP = """(target, [text, kind]) => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], "dropped.png", {type: "image/png"}));
    target.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true}));
}"""


def test_an_image_may_be_dropped_and_one_dropped_beside_changes_nothing(
    explorer: Explorer, png: Path
) -> None:
    content = base64.b64encode(png.read_bytes()).decode()
    before = explorer.page.url
    explorer.page.locator("body").evaluate(DROP, [content, "drop"])
    zone = explorer.page.get_by_role("region", name="Your image")
    zone.evaluate(DROP, [content, "dragover"])
    assert "over" in (zone.get_attribute("class") or "")
    zone.evaluate(DROP, [content, "drop"])
    assert "over" not in (zone.get_attribute("class") or "")
    explorer.page.get_by_role("img", name="dropped.png as the model sees it").wait_for()
    assert explorer.page.url == before


def test_a_bad_file_is_a_sentence_and_the_page_goes_on(
    explorer: Explorer, png: Path, tmp_path: Path
) -> None:
    readings = explorer.page.locator("#reading")
    explorer.choose_file(b"hello", "letter.txt")
    explorer.expect(readings).to_contain_text("Error: this file is no image (PNG, JPEG")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(64_000_001)
    explorer.choose_file(tmp_path / "huge.png")
    explorer.expect(readings).to_have_text("Error: huge.png has more than 64,000,000 bytes.")
    explorer.choose_file(png)
    explorer.expect(explorer.nearest()).to_have_count(5)
    explorer.slider("c2").press("End")
    explorer.has("c1 0 (class 5), c2 2.00, c3_0 2.00, c3_1 2.00")
    # The browser itself notes an answer of status 400.
    assert len(explorer.tab.complaints) == 1
    assert "400" in explorer.tab.complaints.pop()


# --- Models --------------------------------------------------------------------------------------


def test_another_model_is_chosen_from_the_registry_and_keeps_what_fits(
    explorer: Explorer, folder: Path, png: Path
) -> None:
    chooser = explorer.page.get_by_role("combobox", name="Model")
    assert chooser.locator("option").all_inner_texts() == [
        "infogan-toy 1 · latest, best · toy smoke seed 0",
        "infogan-colour 1 · latest, best · colour smoke seed 0",
    ]
    explorer.choose_file(png)
    explorer.expect(explorer.nearest()).to_have_count(5)
    explorer.slider("c2").press("End")
    explorer.category("c1", "2 class 2").check()
    chooser.select_option("infogan-colour/1")
    explorer.has("c1 2, c2 2.00")
    colour = Trained.load(folder / "colour" / "infogan.safetensors")
    shows_picture(explorer, colour.generate([{"c1": 2, "c2": 2}], 1, 0)[0])
    # The person's image is read again, by this one.
    explorer.page.get_by_text("mine.png is 1x8x8 and was made 3x8x8.").wait_for()
    assert explorer.page.get_by_role("listitem").count() == 20
    chooser.select_option("infogan-toy/1")
    explorer.has("c1 2 (class 2), c2 2.00, c3_0 2.00, c3_1 2.00")


def test_a_model_that_cannot_be_loaded_is_a_sentence_and_the_one_before_stays(
    explorer: Explorer,
) -> None:
    explorer.page.route(
        "**/infogan-colour/1",
        lambda route: route.fulfill(status=400, json={"message": "its file is gone."}),
    )
    chooser = explorer.page.get_by_role("combobox", name="Model")
    chooser.select_option("infogan-colour/1")
    explorer.expect(explorer.page.get_by_role("alert")).to_have_text("Error: its file is gone.")
    assert chooser.input_value() == "infogan-toy/1"
    explorer.slider("c2").press("End")
    explorer.has("c1 0 (class 5), c2 2.00, c3_0 2.00, c3_1 2.00")
    explorer.tab.complaints.clear()  # of the browser, about the status


def test_an_empty_registry_says_what_to_do(tab: Callable[..., Tab], address: str) -> None:
    opened = tab()
    opened.page.route("**/api/models", lambda route: route.fulfill(json=[]))
    opened.page.goto(address)
    alert = opened.page.get_by_role("alert")
    alert.wait_for()
    assert "no model in the registry yet: make run trains one." in alert.inner_text()
    assert not opened.page.get_by_role("main").is_visible()


def test_a_server_that_is_gone_is_told_and_found_again(explorer: Explorer) -> None:
    explorer.page.route("**/images", lambda route: route.abort())
    explorer.slider("c2").press("End")
    alert = explorer.page.get_by_role("alert")
    explorer.expect(alert).to_have_text(
        "The explorer does not answer: start it again with make explore."
    )
    explorer.page.unroute("**/images")
    explorer.slider("c2").press("Home")
    explorer.has("c1 0 (class 5), c2 −2.00, c3_0 2.00, c3_1 2.00")
    assert not alert.is_visible()
    explorer.tab.complaints.clear()  # of the browser, about the request that was cut


# --- For everybody -------------------------------------------------------------------------------


FOCUSED = """() => {
    const at = document.activeElement;
    const drawn = at.matches(".cells input") ? at.nextElementSibling : at;
    const label = at.ariaLabel ?? at.labels?.[0]?.innerText ?? at.innerText;
    const {outlineStyle, outlineWidth} = getComputedStyle(drawn);
    return [at.type, label, outlineStyle === "solid" && parseFloat(outlineWidth) >= 3];
}"""


def test_everything_is_reached_by_the_keyboard_and_one_sees_where_one_is(
    explorer: Explorer, png: Path
) -> None:
    explorer.choose_file(png)
    explorer.expect(explorer.nearest()).to_have_count(5)
    reached = []
    while True:
        explorer.page.keyboard.press("Tab")
        kind, label, ring = explorer.page.evaluate(FOCUSED)
        if kind is None:  # the document itself: once round
            break
        assert label
        assert ring or kind == "range", label  # whose thumb has it, below
        reached.append(f"{kind}: {label}".replace("\n", " "))
    wanted = (
        "select-one: Model",
        "number: Noise, seed",
        "button: New noise",
        "button: c1 2 (class 2)",
        "radio: c1 in the strip",
        "radio: 0 class 5",
        "range: c2",
        "range: c3_0",
        "range: c3_1",
        "button: Copy",
        "file: Choose an image file, or drop one here, to see its codes:",
        "button: Generation at distance",
    )
    assert [name for name in wanted if not any(each.startswith(name) for each in reached)] == []

    slider = explorer.slider("c2")
    slider.scroll_into_view_if_needed()
    before = slider.screenshot()
    explorer.slider("c2").press("ArrowLeft")
    slider.press("ArrowRight")
    assert slider.screenshot() != before


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_its_window_and_is_kept_to_be_looked_at(
    opens: Callable[..., Explorer],
    screenshot: Callable[..., Path],
    png: Path,
    width: int,
    dark: bool,
) -> None:
    explorer = opens(width=width, height=740, dark=dark)
    explorer.choose_file(png)
    explorer.expect(explorer.nearest()).to_have_count(5)
    explorer.expect(explorer.page.get_by_role("status")).to_have_text("")
    assert explorer.page.evaluate("document.documentElement.scrollWidth") == width
    for control in explorer.page.locator("input:visible, select, button, canvas").all():
        box = control.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    kept = screenshot(explorer.page, f"explorer_{width}_{'dark' if dark else 'light'}")
    with Image.open(kept) as image:
        corner = np.asarray(image.convert("L"))[2, 2]
    assert (corner < 64) == dark
    # The picture stays in sight while the last code is turned.
    explorer.slider("c3_1").scroll_into_view_if_needed()
    explorer.slider("c3_1").press("End")
    explorer.has("c1 0 (class 5), c2 0.00, c3_0 2.00, c3_1 6.00")
    box = explorer.page.locator("#image").bounding_box()
    assert box is not None
    assert 0 <= box["y"] <= 740 - box["height"]
    assert explorer.tab.complaints == []
    assert explorer.tab.outside == []
