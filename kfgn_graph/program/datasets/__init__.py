"""Data sets of the experiments, one module each; the package ships none of the data."""

from kfgn_graph.program.datasets.curves import load_curves
from kfgn_graph.program.datasets.dataset import Dataset
from kfgn_graph.program.datasets.digits import load_digits
from kfgn_graph.program.datasets.faces import load_faces
from kfgn_graph.program.datasets.files import DataCorrupt, DataError, DataNotFound
from kfgn_graph.program.datasets.mnist import load_mnist
from kfgn_graph.program.datasets.uci import load_uci

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
