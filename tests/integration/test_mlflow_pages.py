"""MLflow's pages in a browser: what somebody who browses runs must see.

One server, as `make ui` starts it, and one made run of two seeds.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Tab, open_tab
from kedro_project import ROOT, Project
from mlflow import MlflowClient
from mlflow.entities import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PARAMETERS = (
    "digits.training.seeds=[0,1],digits.training.iterations=20,"
    "digits.training.baseline_iterations=10,digits.training.evaluation_samples=100"
)
NAME = "digits smoke 2 seeds, 20 it"
VIEW = "InfoGAN: c1, c2, c3"


@dataclass
class Made:
    """The pages, and what they shall show."""

    address: str
    view: str  # the name of the saved view
    parent: Run
    children: list[Run]

    @property
    def experiment(self) -> str:
        return f"{self.address}/#/experiments/{self.parent.info.experiment_id}"


def start_ui(folder: Path, port: int) -> subprocess.Popen[str]:
    """What `make ui` runs."""
    (command,) = re.findall(
        r"^\t(MLFLOW_\S+ mlflow ui .*?)$",
        (ROOT / "Makefile").read_text().replace("\\\n", ""),
        re.MULTILINE,
    )
    command = command.replace("$(CURDIR)", str(folder)).replace("5000", str(port))
    with (folder / "ui.log").open("w") as log:
        return subprocess.Popen(
            ["sh", "-c", f"exec env {command}"],
            cwd=folder,
            env=Project(folder).environment() | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def wait_for(address: str, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@pytest.fixture(scope="module")
def made(make_project: Callable[..., Project], empty_mlflow: Path) -> Iterator[Made]:
    project = make_project(tracked=True)
    shutil.copy(empty_mlflow, project.folder / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start_ui(project.folder, port)  # it starts while the run is made
    try:
        done = project.run(f"--params={PARAMETERS}")
        assert done.returncode == 0, done.stderr
        client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
        (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
        runs = client.search_runs(
            [experiment.experiment_id], order_by=["attributes.start_time ASC"]
        )
        client._tracking_client.store._dispose_engine()
        beginning = "mlflow.sharedViewState."
        (view,) = [name for name in experiment.tags if name.startswith(beginning)]
        address = f"http://127.0.0.1:{port}"
        wait_for(address, process, project.folder / "ui.log")
        yield Made(address, view.removeprefix(beginning), runs[0], list(runs[1:]))
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # nobody needs a graceful end of seconds
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def here(browser: "Browser") -> Iterator[Tab]:
    """A browser that has been here before; one for all, since MLflow's pages are 4 MB of code."""
    tab = open_tab(browser, width=1600, height=1000)
    known = {
        "mlflow.workflowType_v1": json.dumps("machine_learning"),
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    }
    tab.page.add_init_script(f"Object.assign(localStorage, {json.dumps(known)})")
    yield tab
    tab.page.context.close()


@pytest.fixture
def opened(here: Tab) -> Iterator[Callable[[str], "Page"]]:
    """Opens an address, and asks nobody else."""

    def go(url: str) -> "Page":
        here.page.goto(url)
        return here.page

    yield go
    assert here.outside == []


def columns(page: "Page") -> list[str]:
    """Headings of the table of runs from left to right."""
    heads = page.locator(".ag-header-cell").evaluate_all(
        "all => all.map(e => [e.getBoundingClientRect().x, e.innerText.trim()])"
    )
    return [name for _, name in sorted(heads) if name]


def expand(page: "Page") -> None:
    """Show the seeds below the run."""
    page.locator(".ag-row").filter(has_text=NAME).locator("button").first.click()


def seen(page: "Page", part: str) -> str:
    """The address of the picture whose address has this part, once there is something to see."""
    image = page.locator(f"img[src*='{part}']").first
    image.scroll_into_view_if_needed()
    page.wait_for_function("i => i.naturalWidth > 99", arg=image.element_handle())
    return str(image.get_attribute("src"))


def test_a_newcomer_finds_the_run_and_the_columns_that_matter(
    made: Made, tab: Callable[..., Tab], screenshot: Callable[["Page", str], Path]
) -> None:
    newcomer = tab(width=1600, height=1000)
    page = newcomer.page
    page.goto(f"{made.address}/#/experiments")
    page.get_by_role("button", name="Close").click()  # the assistant
    page.get_by_text("Model training", exact=True).click()
    row = page.get_by_role("row").filter(has_text="smoke-digits")
    row.get_by_text(
        "InfoGAN on scikit-learn's digits, with categories that follow clusters."
    ).wait_for()
    screenshot(page, "mlflow_experiments")

    page.get_by_role("link", name="smoke-digits").click()
    page.get_by_role("link", name=NAME).first.wait_for()
    page.get_by_role("button", name="Views").click()
    page.get_by_text(VIEW, exact=True).click()
    page.get_by_text("L_I_ratio").wait_for()
    found = columns(page)
    assert found[:6] == ["Run Name", "Created", "dataset", "environment", "L_I_ratio", "error"]
    for name in ("L_I_ratio", "error"):
        value = str(made.parent.data.metrics[name])
        page.locator(f"[col-id='metrics.`{name}`']").get_by_text(value, exact=True).wait_for()
    page.get_by_text("training.evaluation_samples=100", exact=False).first.wait_for()

    expand(page)
    for child in made.children:
        page.get_by_role("link", name=str(child.info.run_name)).wait_for()
    screenshot(page, "mlflow_runs")
    assert newcomer.outside == []


def test_charts_show_pictures_by_step_and_l_i_with_h(
    made: Made, opened: Callable[[str], "Page"], screenshot: Callable[["Page", str], Path]
) -> None:
    page = opened(f"{made.experiment}/runs?viewStateShareKey={made.view}&compareRunsMode=CHART")
    expand(page)
    page.get_by_text("As it learns", exact=True).wait_for()
    for code in ("c1", "c2", "c3"):
        page.get_by_text(f"codes/{code}.L_I vs codes/{code}.H").wait_for()
    seen(page, "InfoGAN%2Bstep%2B20")
    seen(page, "regular%20GAN%2Bstep%2B10")
    screenshot(page, "mlflow_charts")


def test_a_run_says_its_result_and_how_to_get_it_again(
    made: Made, opened: Callable[[str], "Page"], screenshot: Callable[["Page", str], Path]
) -> None:
    page = opened(
        f"{made.address}/#/runs/{made.parent.info.run_id}"
    )  # as a run's last line has it
    page.get_by_role("heading", name=NAME).wait_for()
    page.get_by_text("Show more").click()
    numbers = made.parent.data.metrics

    def exact(name: str) -> float:  # L_I_ratio and error are rounded already
        return numbers.get(f"seeds/{name}.mean", numbers[f"eval/{name}"])

    ratio = exact("lower_bound.c1") / numbers["eval/entropy.c1"]
    result = f"L_I is {ratio:.1%} of H(c), error {exact('error_one_to_one'):.1%}"
    page.locator("strong").get_by_text(result, exact=True).wait_for()
    cells = page.locator("table").first.locator("tr").nth(1).locator("td").all_inner_texts()
    assert [cell.strip() for cell in cells][:3] == [
        "c1",
        f"{numbers['eval/lower_bound.c1']:.3f}",
        f"{numbers['eval/entropy.c1']:.3f}",
    ]
    page.get_by_text(f"kedro run --env=smoke '--params={PARAMETERS}'").first.wait_for()
    for child in made.children:
        page.get_by_role("link", name=str(child.info.run_name)).wait_for()
    page.get_by_role("link", name="infogan-digits").first.wait_for()
    screenshot(page, "mlflow_run")

    (train, test) = made.parent.inputs.dataset_inputs
    page.get_by_text(f"digits ({train.dataset.digest})").click()
    page.get_by_text(f"digits ({test.dataset.digest})").click()
    page.get_by_text("8a9ceff59172438f800565084fa8fd52146c2632cec4a81eb324ed2873248550").wait_for()


def test_one_sees_a_seed_learn_by_step(
    made: Made, opened: Callable[[str], "Page"], screenshot: Callable[["Page", str], Path]
) -> None:
    page = opened(f"{made.experiment}/runs/{made.children[0].info.run_id}/model-metrics")
    page.get_by_text("c1.L_I.minibatch", exact=True).wait_for()
    titles = page.locator("h4").all_inner_texts()
    assert titles[:4] == ["As it learns/InfoGAN", "c1.H", "c1.L_I", "c1.L_I.minibatch"]
    seen(page, "InfoGAN%2Bstep%2B0")
    slider = page.get_by_role("slider").first
    slider.focus()
    for step in (10, 20):
        slider.press("ArrowRight")
        seen(page, f"InfoGAN%2Bstep%2B{step}")
    screenshot(page, "mlflow_metrics")


def test_figures_and_report_are_among_the_artifacts(
    made: Made, opened: Callable[[str], "Page"], screenshot: Callable[["Page", str], Path]
) -> None:
    page = opened(f"{made.experiment}/runs/{made.parent.info.run_id}/artifacts")
    page.get_by_text("report.html", exact=True).click()
    report = page.frame_locator("iframe")
    report.get_by_role(
        "heading", name="InfoGAN on scikit-learn's digits, with categories that follow clusters"
    ).wait_for()
    page.get_by_text("figures", exact=True).click()
    page.get_by_text("traversal_c1.png", exact=True).click()
    page.get_by_text("figures/traversal_c1.png", exact=True).wait_for()
    seen(page, "blob:")
    screenshot(page, "mlflow_artifacts")


def test_a_model_leads_to_its_run_and_says_what_it_can(
    made: Made, opened: Callable[[str], "Page"], screenshot: Callable[["Page", str], Path]
) -> None:
    page = opened(f"{made.address}/#/models/infogan-digits")
    page.get_by_text("infogan generate --model models:/infogan-digits/latest").wait_for()
    page.get_by_text(NAME).first.wait_for()
    page.get_by_role("link", name="Version 1").click()
    page.get_by_role("link", name=NAME).wait_for()
    screenshot(page, "mlflow_model")

    (output,) = made.parent.outputs.model_outputs
    page = opened(f"{made.experiment}/models/{output.model_id}")
    page.get_by_text("eval/error_one_to_one", exact=True).wait_for()
    page.get_by_text("c1 categorical 10, c2 uniform -1 1, c3 uniform -1 1").wait_for()
    page.get_by_role("link", name="infogan-digits").wait_for()
