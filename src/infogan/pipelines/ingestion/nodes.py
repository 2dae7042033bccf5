"""From verified files to arrays."""

import hashlib
from typing import Any

import numpy as np

from infogan.datasets.values import Arrays, ArrayStream, RawImages, RawSplit
from infogan.errors import UserError
from infogan.options import Data, Slice, Source


def fetch(source: Source) -> Source:
    """Hand the pinned files to the raw dataset, which fetches and verifies them."""
    return source


def preprocess(raw: RawImages, data: Data) -> tuple[Arrays, Arrays]:
    """Images as uint8 (N, C, H, W) and labels as int64 (N,), empty if there are none."""
    from infogan.preprocessing import prepare

    images, labels = {}, {}
    for split, part in (("train", data.train), ("test", data.test)):
        found = _raw_split(raw, split, part)
        rows = prepare(found.images, part, data.transforms, data.shape)
        images[split] = ArrayStream((part.count, *data.shape), "uint8", rows)
        known = found.labels if found.labels is not None else np.empty(0, np.int64)
        labels[split] = known[part.first : part.last]
    return Arrays(images), Arrays(labels)


def describe(images: Arrays, source: Source, data: Data) -> dict[str, Any]:
    """The card beside the arrays: counts, shape, hashes of what they are and were made from."""
    splits = {}
    for split, part in (("train", data.train), ("test", data.test)):
        array = images[split]
        digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        splits[split] = {"images": len(array), "from": str(part), "sha256": digest}
    return {
        "shape": list(data.shape),
        "transforms": [str(transform) for transform in data.transforms],
        "splits": splits,
        "source": {file.name: file.sha256 for file in source.files},
    }


def _raw_split(raw: RawImages, split: str, part: Slice) -> RawSplit:
    if part.split not in raw.splits:
        raise UserError(
            f"data.{split} is '{part}', but the raw data have only "
            f"{' and '.join(sorted(raw.splits))}."
        )
    found = raw.splits[part.split]
    if part.last > len(found.images):
        raise UserError(
            f"data.{split} is '{part}', but {part.split} has only {len(found.images):,} images."
        )
    return found
