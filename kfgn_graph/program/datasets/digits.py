"""Digits: 1,797 handwritten digits of 8x8 pixels, small enough for tests.

The file is scikit-learn's copy of UCI, *Optical Recognition of Handwritten Digits* (CC BY 4.0).
"""

import importlib.util
import os
from importlib import resources
from pathlib import Path

import numpy as np

from kfgn_graph.program.datasets.dataset import Dataset
from kfgn_graph.program.datasets.files import DataFile, DataNotFound, check_hash, find

FILE = DataFile(
    "digits/digits.csv.gz",
    "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    origin="sklearn/datasets/data/digits.csv.gz of scikit-learn",
)


def load_digits(count: int | None = None, folder: str | os.PathLike[str] | None = None) -> Dataset:
    """Load the digits, with pixels scaled to [0, 1], and their labels.

    Parameters
    ----------
    count : int, optional
        Number of digits, taken from the start; all 1,797 by default.
    folder : path-like, optional
        The data folder, which contains ``digits/``. By default the usual folders are searched,
        and then an installed scikit-learn.

    Returns
    -------
    Dataset
        ``inputs`` (N, 64) float32, ``targets`` (N,) int64.

    Raises
    ------
    DataNotFound, DataCorrupt
        The file is not found, or its hash is wrong.
    """
    path = digits_path(folder)
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    inputs, targets = table[:, :-1] / np.float32(16), table[:, -1].astype(np.int64)
    return Dataset("digits", inputs, targets, f"{path} (hash checked)").head(count)


def digits_path(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of the file in a data folder, or else inside an installed scikit-learn."""
    try:
        return find(FILE, folder)
    except DataNotFound:
        if folder is not None or importlib.util.find_spec("sklearn") is None:
            raise
    shipped = Path(str(resources.files("sklearn.datasets.data") / "digits.csv.gz"))
    check_hash(shipped, FILE.sha256)
    return shipped
