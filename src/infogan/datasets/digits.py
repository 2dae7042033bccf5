"""The 1,797 real 8x8 digits that ship inside scikit-learn (the test part of UCI's optdigits)."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from infogan.datasets.raw import RawDataset, brought, origin, raw_file
from infogan.datasets.values import RawImages, RawSplit
from infogan.errors import UserError
from infogan.options import Source

_SIDE, _LEVELS = 8, 16


class Digits(RawDataset):
    """One split, ``all``: 1x8x8, sixteen grey levels stretched to 0-255, labels 0 to 9."""

    def read(self, folder: Path, source: Source) -> RawImages:
        """Each line of the file is 64 levels (0 to 16) and the digit."""
        path = raw_file(brought(folder, source), "digits.csv.gz")
        opened = origin(source, path)
        try:
            text = gzip.decompress(path.read_bytes()).decode()
            lines = [line for line in text.splitlines() if line]
            if not lines:
                raise ValueError("it is empty")
            table = np.loadtxt(lines, delimiter=",", ndmin=2)
        except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): delete it and fetch again.") from None
        if table.shape[1] != _SIDE**2 + 1:
            raise UserError(f"{path} has {table.shape[1]} columns, not {_SIDE**2 + 1}.")
        levels = table[:, :-1].reshape(-1, 1, _SIDE, _SIDE)
        images = np.round(levels * (255 / _LEVELS)).astype(np.uint8)
        labels = table[:, -1].astype(np.int64)
        return RawImages({"all": RawSplit(images, labels)}, origin=opened)
