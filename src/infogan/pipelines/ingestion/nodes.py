"""From verified files to arrays."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infogan.datasets.values import Arrays, RawImages, RawReader, RawSplit
from infogan.errors import UserError
from infogan.options import Data, Slice, Source

_WHERE_ANY = ("partial", "rejected", "factors", "factors_of_object")  # facts of the card
_FEWEST = {"train": 2, "test": 1}  # images without which nothing can be trained or judged


def fetch(source: Source) -> Source:
    """Hand the source to the raw dataset, which fetches and verifies its files."""
    return source


def preprocess(
    reader: RawReader, workspace: Path, source: Source, data: Data
) -> tuple[Arrays, Arrays, Arrays, str, dict[str, Any]]:
    """Images as uint8 (N, C, H, W), labels as int64 (N,) and known factors as float32 (N, F), both
    empty if there are none; a table of the images that cannot be used, and facts for the card.
    """
    from infogan.preprocessing import TooManyRejected, prepare

    raw = reader(source)
    partial = _partial(raw, source)
    images, labels, factors = {}, {}, {}
    origins: dict[str, str] = {}
    rejected: list[tuple[str, str, str]] = []
    wanted_parts = (("train", data.train), ("test", data.test))
    parts = {
        split: _resolve(_raw_split(raw, split, wanted), split, wanted)
        for split, wanted in wanted_parts
    }
    _refuse_overlap(raw, parts["train"], parts["test"])
    for split, wanted in wanted_parts:
        found = _raw_split(raw, split, wanted)
        part = parts[split]
        try:
            prepared = prepare(
                found.images,
                found.names,
                part,
                data.transforms,
                data.shape,
                workspace / split,
                _identity(raw, found, part, source, data),
                data.max_rejected - len(rejected),
                isolated=found.isolated,
            )
        except TooManyRejected as stop:
            rejected += [(split, *each) for each in stop.rejected]
            raise _too_many(workspace, rejected, data.max_rejected) from None
        if len(prepared.images) < _FEWEST[split]:
            raise UserError(
                f"data.{split} is '{wanted}', of which {_images(len(prepared.images))} can be "
                f"used: at least "
                f"{_FEWEST[split]} are needed."
            )
        images[split] = prepared.images
        labels[split] = (
            found.labels[prepared.kept] if found.labels is not None else np.empty(0, np.int64)
        )
        factors[split] = (
            found.factors[prepared.kept]
            if found.factors is not None
            else np.empty((0, 0), np.float32)
        )
        rejected += [(split, *each) for each in prepared.rejected]
        origins[split] = str(part)
    facts = {
        "from": origins,
        "source": dict(raw.origin),
        "partial": partial,
        "rejected": len(rejected),
        "factors": [[factor.name, factor.kind] for factor in raw.factors],
        "factors_of_object": [factor.name for factor in raw.factors if factor.of_object],
    }
    return Arrays(images), Arrays(labels), Arrays(factors), _table(rejected), facts


def describe(images: Arrays, facts: dict[str, Any], data: Data) -> dict[str, Any]:
    """The card beside the arrays: counts, shape, hashes of what they are and were made from."""
    splits = {}
    for split in ("train", "test"):
        array = images[split]
        digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        splits[split] = {"images": len(array), "from": facts["from"][split], "sha256": digest}
    return {
        "shape": list(data.shape),
        "transforms": [str(transform) for transform in data.transforms],
        "splits": splits,
        "source": facts["source"],
        **{name: facts[name] for name in _WHERE_ANY if facts[name]},
    }


def _partial(raw: RawImages, source: Source) -> dict[str, int]:
    """How many of the data set's images there are, if not all; empty if all."""
    found = {
        split: len(raw.splits[split].images) if split in raw.splits else 0
        for split in source.complete
    }
    if found == source.complete:
        return {}
    counts = {"images": sum(found.values()), "of": sum(source.complete.values())}
    if not source.allow_partial or counts["images"] > counts["of"]:
        listed = ", ".join(
            f"{split} {found[split]:,} of {whole:,}" for split, whole in source.complete.items()
        )
        raise UserError(
            f"The raw data are not the whole data set: {listed}. Complete them, or set "
            "source.allow_partial to true; every result will then say that it is of a part."
        )
    return counts


def _raw_split(raw: RawImages, split: str, part: Slice) -> RawSplit:
    names = part.split.split("+")
    unknown = [name for name in names if name not in raw.splits]
    if unknown:
        raise UserError(
            f"data.{split} is '{part}', but the raw data have only "
            f"{' and '.join(sorted(raw.splits))}."
        )
    found = [raw.splits[name] for name in names]
    return found[0] if len(found) == 1 else _joined(found)


def _joined(splits: Sequence[RawSplit]) -> RawSplit:
    """Several splits as one."""
    from infogan.preprocessing import Joined

    def all_of(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
        known = [array for array in arrays if array is not None]
        return np.concatenate(known) if len(known) == len(arrays) else None

    return RawSplit(
        Joined([split.images for split in splits]),
        all_of([split.labels for split in splits]),
        all_of([split.factors for split in splits]),
        [
            split.names[n] if split.names is not None else f"{n} of part {part}"
            for part, split in enumerate(splits)
            for n in range(len(split.images))
        ],
        any(split.isolated for split in splits),
    )


def _refuse_overlap(raw: RawImages, train: Slice, test: Slice) -> None:
    """Nothing is judged on images it was trained on, in whichever splits they are."""
    ours, theirs = (_taken(raw, part) for part in (train, test))
    if any(_share(raw, one, other) for one in ours for other in theirs):
        raise UserError(
            f"data.train is '{train}' and data.test '{test}': they share images, but a model is "
            "judged on images it was not trained on."
        )


def _taken(raw: RawImages, part: Slice) -> list[tuple[str, range]]:
    """Which images of each split a slice takes."""
    taken, passed = [], 0
    for split in part.split.split("+"):
        count = len(raw.splits[split].images)
        first, last = (min(max(bound - passed, 0), count) for bound in (part.first, part.last))
        taken.append((split, range(first, last)))
        passed += count
    return taken


def _share(raw: RawImages, one: tuple[str, range], other: tuple[str, range]) -> bool:
    """Whether parts of two splits have an image in common, as far as it has a name."""
    (split, ours), (its_split, theirs) = one, other
    if split == its_split:
        return max(ours.start, theirs.start) < min(ours.stop, theirs.stop)
    names, its_names = raw.splits[split].names, raw.splits[its_split].names
    if names is None or its_names is None:
        return False
    return not {names[n] for n in ours}.isdisjoint(its_names[n] for n in theirs)


def _resolve(found: RawSplit, split: str, wanted: Slice) -> Slice:
    part = wanted.resolve(len(found.images))
    if part.last > len(found.images):
        raise UserError(
            f"data.{split} is '{wanted}', but {wanted.split} has only "
            f"{_images(len(found.images))}."
        )
    if part.last - part.first < _FEWEST[split]:
        raise UserError(
            f"data.{split} is '{wanted}' of {_images(len(found.images))}, which is "
            f"{part.last - part.first}: at least {_FEWEST[split]} are needed."
        )
    return part


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _too_many(workspace: Path, rejected: Sequence[tuple[str, str, str]], limit: int) -> UserError:
    """What to say, once all rejected images are listed in a file."""
    from infogan.files import atomic

    path = workspace / "rejected.csv"
    with atomic(path) as temporary:
        temporary.write_text(_table(rejected))
    shown = "; ".join(f"{name} {reason}" for _, name, reason in rejected[:5])
    more = f"; and {len(rejected) - 5} more" if len(rejected) > 5 else ""
    return UserError(
        f"{_images(len(rejected))} cannot be used, and data.max_rejected allows {limit}: "
        f"{shown}{more}. They are listed in {path}: mend them, or allow more."
    )


def _identity(raw: RawImages, found: RawSplit, part: Slice, source: Source, data: Data) -> str:
    """What is made of what: only a call of the same identity may be continued."""
    options = data.model_dump(exclude={"max_rejected"})
    names = hashlib.sha256("\n".join(found.names or ()).encode()).hexdigest()
    parts = [str(part), len(found.images), names, dict(raw.origin), raw.stamp]
    parts += [source.model_dump(), options]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _table(rejected: Sequence[tuple[str, str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("split", "image", "reason"))
    writer.writerows(rejected)
    return text.getvalue()
