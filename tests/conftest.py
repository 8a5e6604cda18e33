"""Fixtures shared by the tests: a seeded generator, the backends, and data when it is at hand."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import jax
import numpy as np
import pytensor
import pytensor.link.jax.dispatch  # sets the precision that is corrected below
import pytest

from kfgn_graph.backends.rewrites import graph_size as sizes

jax.config.update("jax_enable_x64", True)  # the judges compute in float64

#: By itself PyTensor prints what a rewrite raises, and goes on.
pytensor.config.on_opt_error = "raise"

#: What is compiled for large networks is tested; what is said of small ones asks for it.
sizes.SMALL = -1


def pytest_configure(config: pytest.Config) -> None:
    """Let tests of exactness compile by the C backend without a BLAS: slow, and just as exact."""
    config.addinivalue_line("filterwarnings", "ignore:PyTensor could not link to a BLAS")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the test's own name: different in each test, the same in every run."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(params=["large", "small"])
def network_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile as for large networks, and as for small ones."""
    monkeypatch.setattr(sizes, "SMALL", {"large": -1, "small": 10**9}[request.param])


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: ``KFGN_DATA``, or ``shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("KFGN_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: set KFGN_DATA to one")
    return folder
