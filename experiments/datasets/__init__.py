"""Data sets of the experiments: one file each, found or generated, never shipped."""

from experiments.datasets.curves import load_curves
from experiments.datasets.dataset import Dataset
from experiments.datasets.digits import load_digits
from experiments.datasets.faces import load_faces
from experiments.datasets.files import DataCorrupt, DataError, DataNotFound
from experiments.datasets.mnist import load_mnist
from experiments.datasets.uci import load_uci

__all__ = [
    "DataCorrupt",
    "DataError",
    "DataNotFound",
    "Dataset",
    "load_curves",
    "load_digits",
    "load_faces",
    "load_mnist",
    "load_uci",
]
