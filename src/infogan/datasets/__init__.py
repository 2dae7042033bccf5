"""Everything the catalog names."""

from infogan.datasets.arrays import ArraysDataset
from infogan.datasets.atomic import AtomicDataset
from infogan.datasets.digits import Digits
from infogan.datasets.faces import Faces
from infogan.datasets.figures import FiguresDataset
from infogan.datasets.folder import FolderDataset
from infogan.datasets.mnist import Mnist
from infogan.datasets.rows import RowsDataset
from infogan.datasets.weights import WeightsDataset

__all__ = [
    "ArraysDataset",
    "AtomicDataset",
    "Digits",
    "Faces",
    "FiguresDataset",
    "FolderDataset",
    "Mnist",
    "RowsDataset",
    "WeightsDataset",
]
