"""Writers of tiny raw files in their true formats, and how a dataset's refusal is recognised."""

import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError

from infogan.errors import UserError


@pytest.fixture
def refused() -> Callable[[str], AbstractContextManager[None]]:
    """``with refused("pattern")``: a UserError, which Kedro wraps when a dataset raises it."""

    @contextmanager
    def expect(pattern: str) -> Iterator[None]:
        with pytest.raises((UserError, DatasetError)) as found:
            yield
        told = found.value if isinstance(found.value, UserError) else found.value.__cause__
        assert isinstance(told, UserError), f"{found.value!r} from {told!r}"
        assert re.search(pattern, str(told), re.DOTALL), str(told)

    return expect


@pytest.fixture
def idx() -> Callable[[np.ndarray], bytes]:
    """An array of bytes in Yann LeCun's IDX format."""

    def encode(array: np.ndarray) -> bytes:
        assert array.dtype == np.uint8
        sizes = b"".join(length.to_bytes(4, "big") for length in array.shape)
        return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()

    return encode


@pytest.fixture
def write_mnist(
    idx: Callable[[np.ndarray], bytes],
) -> Callable[[Path, str, np.ndarray, np.ndarray, bool], None]:
    """One split, ``train`` or ``t10k``, as MNIST's two files, compressed or not."""

    def write(
        folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray, compressed: bool
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{prefix}-{stem}-ubyte"
            if compressed:
                path.with_suffix(".gz").write_bytes(gzip.compress(idx(array), mtime=0))
            else:
                path.write_bytes(idx(array))

    return write
