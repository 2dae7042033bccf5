"""Images a second and peak memory of ingestion, for every data set.

Each is ingested by the command a person types, in a copy of the project; memory is that of the
command and its processes together (proportional set size, so that shared pages count once). Raw
files come from INFOGAN_MIRROR. With --whole-celeba an archive of CelebA's full length is made of
the mirror's images, to see what 202,599 of them need.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import page
import psutil
import yaml
from machine import RESULTS, ROOT, machine
from PIL import Image

from infogan.files import digest

PEAK_EVERY_SECONDS = 0.1
PICTURES = 2000  # of the folder

# Environment and overrides: what is at hand, cut to a length that takes a minute.
RUNS: dict[str, tuple[str, str]] = {
    "digits": ("base", ""),
    "mnist": ("base", ""),
    "svhn": ("sample", ""),
    "celeba": ("sample", ""),
    "faces": ("base", "faces.data.train=renders[0:5000],faces.data.test=renders[5000:6000]"),
    "chairs": ("procedural", ""),
    "folder": ("base", "folder.source.path={folder}"),
}


def memory(process: psutil.Process) -> int:
    """Bytes of a process and its children."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
        except psutil.Error:
            continue  # it has ended meanwhile
    return total


def ingest(project: Path, dataset: str, environment: str, overrides: str) -> dict[str, float]:
    """Seconds of the whole command, images a second and peak MB; the raw files are in place."""
    command = ["kedro", "run", f"--env={environment}", f"--pipelines={dataset}.ingestion"]
    command += [f"--params={overrides}"] if overrides else []
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    fetch = [*command, f"--nodes={dataset}.fetch"]
    subprocess.run(fetch, cwd=project, env=environ, check=True, capture_output=True)

    began, peak = time.perf_counter(), 0
    with subprocess.Popen(
        command, cwd=project, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, memory(watched))
            time.sleep(PEAK_EVERY_SECONDS)
        if process.returncode:
            assert process.stderr is not None
            sys.exit(f"{dataset}: {process.stderr.read().decode()[-2000:]}")
    seconds = time.perf_counter() - began
    root = project / "data" / ("" if environment == "base" else environment)
    card = json.loads((root / "05_model_input" / dataset / "card.json").read_text())
    images = sum(split["images"] for split in card["splits"].values())
    return {"images": images, "seconds": seconds, "rate": images / seconds, "peak_mb": peak / 1e6}


def make_pictures(folder: Path) -> None:
    """Photographs are the common case: JPEGs of 640x480."""
    folder.mkdir()
    for number in range(PICTURES):
        picture = Image.effect_noise((80, 60), 60 + number % 40).resize((640, 480)).convert("RGB")
        picture.save(folder / f"{number}.jpg")


def make_whole_celeba(mirror: Path, folder: Path) -> None:
    """The official lists, and an archive with all their names, made of the mirror's images."""
    folder.mkdir()
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        shutil.copy(mirror / "celeba" / name, folder)
    lines = (folder / "list_eval_partition.txt").read_text().split("\n")
    names = [line.split()[0] for line in lines if line.strip()]
    with (
        zipfile.ZipFile(mirror / "celeba" / "img_align_celeba.zip") as sample,
        zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as whole,
    ):
        contents = [sample.read(name) for name in sample.namelist() if name.endswith(".jpg")]
        for number, name in enumerate(names):
            whole.writestr(f"img_align_celeba/{name}", contents[number % len(contents)])


def _pin(project: Path, archive: Path) -> None:
    """Let the project's copy take the made archive for the official one."""
    path = project / "conf" / "base" / "parameters_celeba.yml"
    parameters = yaml.safe_load(path.read_text())
    (pinned,) = (f for f in parameters["celeba"]["source"]["files"] if f["name"] == archive.name)
    pinned["md5"] = digest(archive, "md5")
    path.write_text(yaml.safe_dump(parameters))


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="*", default=list(RUNS))
    parser.add_argument("--whole-celeba", action="store_true")
    parser.add_argument("--json", type=Path, default=RESULTS / "ingestion.json")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    results = {"machine": machine(), "datasets": found}
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        for name in ("conf", "src"):
            shutil.copytree(ROOT / name, project / name)
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(ROOT / name, project)
        make_pictures(Path(temporary) / "pictures")
        for dataset in arguments.datasets:
            environment, overrides = RUNS[dataset]
            overrides = overrides.format(folder=Path(temporary) / "pictures")
            found[dataset] = ingest(project, dataset, environment, overrides)
        if arguments.whole_celeba:
            brought = Path(temporary) / "celeba"
            make_whole_celeba(Path(os.environ["INFOGAN_MIRROR"]), brought)
            _pin(project, brought / "img_align_celeba.zip")
            overrides = f"celeba.source.path={brought}"
            found["celeba, whole"] = ingest(project, "celeba", "base", overrides)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    print(page.ingestion(results))


if __name__ == "__main__":
    main()
