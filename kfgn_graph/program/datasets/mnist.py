"""MNIST: handwritten digits of 28x28 grey pixels.

Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten digits*; commonly stated to be
under CC BY-SA 3.0. The hashes belong to the four original ``.gz`` files.
"""

import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from kfgn_graph.program.datasets.dataset import Dataset
from kfgn_graph.program.datasets.files import DataCorrupt, DataFile, find

GZIP = b"\x1f\x8b"
"""The first bytes of a gzipped file."""
IDX_KINDS = {8: ">u1", 9: ">i1", 0xB: ">i2", 0xC: ">i4", 0xD: ">f4", 0xE: ">f8"}
"""The types of the elements by the third byte of an idx file."""
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _file(name: str, sha256: str) -> DataFile:
    return DataFile(
        f"mnist/{name}",
        sha256,
        tuple(mirror + name for mirror in MIRRORS),
        "the MNIST database, original idx files",
    )


FILES = {
    "train": (
        _file(
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        _file(
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    ),
    "test": (
        _file(
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        _file(
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
}


def load_mnist(
    split: Literal["train", "test"] = "train",
    count: int | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load the images of MNIST, with pixels scaled to [0, 1], and their labels.

    Parameters
    ----------
    split : "train" or "test"
        The split, of 60,000 or 10,000 images.
    count : int, optional
        Number of images, taken from the start; all by default. The paper trains on the first
        50,000 of ``"train"``.
    folder : path-like, optional
        The data folder, which contains ``mnist/``; by default the usual folders are searched.

    Returns
    -------
    Dataset
        ``inputs`` (N, 784) float32, ``targets`` (N,) int64.

    Raises
    ------
    DataNotFound, DataCorrupt
        A file is not found, or its hash is wrong.
    """
    images_path, labels_path = (find(file, folder) for file in FILES[split])
    images = read_idx(images_path)
    inputs = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    targets = read_idx(labels_path).astype(np.int64)
    source = f"{images_path.parent}, {split} split (hash checked)"
    return Dataset("mnist", inputs, targets, source).head(count)


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file, gzipped or not.

    Raises
    ------
    DataCorrupt
        The file is not idx, or shorter or longer than its header states.
    """
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == GZIP
        with gzip.open(path) if zipped else path.open("rb") as stream:
            content = stream.read()
        zeros, kind, rank = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{rank}I", content, 4)
        if zeros or kind not in IDX_KINDS:
            raise ValueError("the header does not declare an idx file")
        dtype = np.dtype(IDX_KINDS[kind])
        values = np.frombuffer(content, dtype, offset=4 + 4 * rank).reshape(shape)
        return values.astype(dtype.newbyteorder("="), copy=False)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataCorrupt(f"{path} is not a readable idx file: {error}") from error
