"""The rendered chairs of Aubry et al. (2014): a tar of PNGs, or the folder in it.

A view is ``rendered_chairs/<chair>/renders/image_NNN_pPPP_tTTT_r096.png``, seen from the
elevation PPP and the azimuth TTT, in degrees. Chairs of other origin may tell their own shape in
``rendered_chairs/<chair>/factors.json``, names and numbers; one called ``class``, a whole number
from 0 on, is no factor but what kind of chair it is.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from infogan.datasets.archives import Members, members_in
from infogan.datasets.decoding import Decoded
from infogan.datasets.raw import RawDataset, brought, origin
from infogan.datasets.values import Factor, RawImages, RawSplit
from infogan.errors import Rejected, UserError
from infogan.files import atomic
from infogan.options import ChairScene, Source
from infogan.sources import exclusive

_FOLDER = "rendered_chairs"
_SHAPE = "factors.json"
_CLASS = "class"  # among a chair's own numbers
_SCENE = "scene.json"  # of procedural chairs: what all of them were rendered from
_WANTED = re.compile(rf"{_FOLDER}/[^/]+/(renders/[^/.][^/]*|{re.escape(_SHAPE)})")
_VIEW = re.compile(rf"{_FOLDER}/([^/]+)/renders/image_\d{{3}}_p(\d{{3}})_t(\d{{3}})_r096\.png")
_ONE_TEST_CHAIR_IN = 10
_MOST_CLASSES = 1000  # tables of categories and classes stay small


class Chairs(RawDataset):
    """Splits ``train`` and ``test``, which share no chair, and ``all``.

    Factors are azimuth and elevation in degrees, and what the chairs tell of their shape. Labels
    are the classes that the chairs tell of, if they do.
    """

    def read(self, folder: Path, source: Source) -> RawImages:
        """Read names and shapes of all chairs; decode images when asked for."""
        members = members_in(brought(folder, source), _FOLDER, _WANTED)
        views = [n for n, name in enumerate(members.names) if name.count("/") == 3]
        if not views:
            raise UserError(
                f"{members.path} holds no image {_FOLDER}/<chair>/renders/image_*_p*_t*_r096.png."
            )
        images = members.chosen(views)
        chairs, angles = _parse(images)
        titles, shapes = _shapes(members, sorted(set(chairs)))
        told = np.array([shapes[chair] for chair in chairs], float)  # (N, titles)
        known = [place for place, title in enumerate(titles) if title != _CLASS]
        factors = np.concatenate([np.array(angles), told[:, known]], axis=1).astype(np.float32)
        labels = told[:, titles.index(_CLASS)].astype(np.int64) if _CLASS in titles else None
        test = _test_chairs(sorted(shapes))
        tested = np.array([chair in test for chair in chairs])
        everything = np.ones(len(images), bool)
        return RawImages(
            {
                split: _split(images, labels, factors, np.flatnonzero(chosen))
                for split, chosen in (("train", ~tested), ("test", tested), ("all", everything))
            },
            (
                Factor("azimuth", "circular"),
                Factor("elevation", "linear"),
                *(Factor(titles[place], "linear", of_object=True) for place in known),
            ),
            _origin(source, members),
            members.stamp(),
        )

    def complete(self, folder: Path, source: Source) -> None:
        """Render procedural chairs, if the source asks for them and they are not there."""
        if source.path is None and isinstance(source.scene, ChairScene):
            with exclusive(folder):
                _render(folder, source.scene)


def _render(folder: Path, scene: ChairScene) -> None:
    """Put a whole tree of the scene in place of another; go on with one that was cut off."""
    from infogan.furniture import write_views
    from infogan.parallel import map_in_processes

    tree, fresh, old = (folder / f"{prefix}{_FOLDER}" for prefix in ("", ".new_", ".old_"))
    shutil.rmtree(old, ignore_errors=True)
    if _scene_of(tree) == (wanted := _drawn(scene)):
        return
    if tree.exists() and not (tree / _SCENE).exists():
        raise UserError(
            f"{tree} holds no {_SCENE}, so its chairs may not be procedural: move it elsewhere, "
            "and they will be rendered."
        )
    if _scene_of(fresh) != wanted:
        shutil.rmtree(fresh, ignore_errors=True)
        with atomic(fresh / _SCENE) as temporary:
            temporary.write_text(json.dumps(wanted))
    chairs = [(fresh, scene.seed, number, scene.side) for number in range(scene.chairs)]
    done = map_in_processes(write_views, chairs)
    for _ in tqdm(done, total=len(chairs), desc="procedural chairs", unit="chair"):
        pass
    if tree.exists():
        tree.rename(old)
    fresh.rename(tree)
    shutil.rmtree(old, ignore_errors=True)


def _drawn(scene: ChairScene) -> dict[str, Any]:
    """What is written of a scene: itself, and what its chairs tell of their shape."""
    from infogan.furniture import draw_chair

    return {**scene.model_dump(mode="json"), "told": sorted(draw_chair(0, 0).told())}


def _scene_of(tree: Path) -> Any:
    """What a tree was rendered from, if that can be read."""
    try:
        return json.loads((tree / _SCENE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _origin(source: Source, members: Members) -> dict[str, str]:
    """What was opened; of procedural chairs, their scene as well, which must be the source's."""
    opened, scene = origin(source, members), source.scene
    if source.path is not None or not isinstance(scene, ChairScene) or _FOLDER not in opened:
        return opened
    if _scene_of(members.path / _FOLDER) != _drawn(scene):
        raise UserError(
            f"{members.path / _FOLDER} was not rendered from source.scene: run the whole "
            "ingestion, which renders it again."
        )
    drawn = f"procedural, seed {scene.seed}, {scene.side} pixels"
    return opened | {_FOLDER: f"{scene.chairs:,} chairs, {drawn}; {opened[_FOLDER]}"}


def _split(
    images: Members, labels: np.ndarray | None, factors: np.ndarray, numbers: np.ndarray
) -> RawSplit:
    chosen = images.chosen(numbers)
    classes = None if labels is None else labels[numbers]
    return RawSplit(Decoded(chosen), classes, factors[numbers], list(chosen.names))


def _parse(images: Members) -> tuple[list[str], list[tuple[int, int]]]:
    """Chair, and azimuth and elevation, of each image, from its name."""
    chairs, angles = [], []
    for name in images.names:
        found = _VIEW.fullmatch(name)
        if found is None or int(found[3]) > 360:
            raise UserError(
                f"{images.path} holds {name}, but a view is called image_NNN_pPPP_tTTT_r096.png, "
                "where PPP is its elevation and TTT its azimuth, 000 to 360."
            )
        chairs.append(found[1])
        angles.append((int(found[3]), int(found[2])))
    return chairs, angles


def _test_chairs(chairs: list[str]) -> set[str]:
    """About a tenth of the chairs; by a hash, so that a chair more or less moves no other."""
    test = {
        chair
        for chair in chairs
        if int(hashlib.sha256(chair.encode()).hexdigest()[:8], 16) % _ONE_TEST_CHAIR_IN == 0
    }
    return test if 0 < len(test) < len(chairs) else {chairs[-1]}


def _shapes(members: Members, chairs: list[str]) -> tuple[list[str], dict[str, list[float]]]:
    """Names of what chairs tell of their shape, in order, and each chair's numbers; maybe none."""
    places = {name: number for number, name in enumerate(members.names)}
    files = {chair: f"{_FOLDER}/{chair}/{_SHAPE}" for chair in chairs}
    silent = [file for file in files.values() if file not in places]
    if len(silent) == len(files):
        return [], {chair: [] for chair in chairs}
    if silent:
        raise UserError(
            f"{members.path} has no {silent[0]}, though other chairs have one: all "
            "need it, or none."
        )
    told = {chair: _shape(members, places[file]) for chair, file in files.items()}
    titles = sorted(told[chairs[0]])
    for chair in chairs:
        if sorted(told[chair]) != titles:
            raise UserError(
                f"{members.path} has {files[chair]} with {', '.join(sorted(told[chair]))}, but "
                f"that of {chairs[0]} has {', '.join(titles)}: all chairs need the same."
            )
    return titles, {chair: [told[chair][title] for title in titles] for chair in chairs}


def _shape(members: Members, number: int) -> dict[str, float]:
    """One chair's own factors, checked."""
    try:
        told = json.loads(members[number])
    except (Rejected, ValueError, RecursionError) as error:
        raise UserError(
            f"{members.path} has {members.names[number]}, which is damaged ({error})."
        ) from None
    if not isinstance(told, dict) or not all(map(_is_number, told.values())):
        raise UserError(
            f"{members.path} has {members.names[number]}, which must be a flat object of names "
            "and numbers."
        )
    taken = {"azimuth", "elevation"} & set(told)
    if taken:
        raise UserError(
            f"{members.path} has {members.names[number]} with {' and '.join(sorted(taken))}, "
            "which the names of the images tell already."
        )
    if strange := [name for name in told if not re.fullmatch(r"[\w -]+", name, re.ASCII)]:
        raise UserError(
            f"{members.path} has {members.names[number]} with {strange[0]!r}, but names are of "
            "letters, digits, spaces, _ and -: tables and MLflow take no others."
        )
    kind = told.get(_CLASS, 0)
    if not isinstance(kind, int) or not 0 <= kind < _MOST_CLASSES:
        raise UserError(
            f"{members.path} has {members.names[number]} with {_CLASS} {kind}, which must be a "
            f"whole number from 0 to {_MOST_CLASSES - 1}."
        )
    return told


def _is_number(value: object) -> bool:
    """Whether it is a number that float32 can hold, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e38
