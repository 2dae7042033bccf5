"""Everything the catalog names."""

from infogan.datasets.arrays import ArraysDataset
from infogan.datasets.atomic import AtomicDataset
from infogan.datasets.celeba import Celeba
from infogan.datasets.chairs import Chairs
from infogan.datasets.digits import Digits
from infogan.datasets.directory import FolderDataset
from infogan.datasets.faces import Faces
from infogan.datasets.figures import FiguresDataset
from infogan.datasets.folder import ImageFolder
from infogan.datasets.mnist import Mnist
from infogan.datasets.models import ModelsDataset
from infogan.datasets.rows import RowsDataset
from infogan.datasets.svhn import Svhn
from infogan.datasets.weights import WeightsDataset

__all__ = [
    "ArraysDataset",
    "AtomicDataset",
    "Celeba",
    "Chairs",
    "Digits",
    "Faces",
    "FiguresDataset",
    "FolderDataset",
    "ImageFolder",
    "Mnist",
    "ModelsDataset",
    "RowsDataset",
    "Svhn",
    "WeightsDataset",
]
