from pathlib import Path

import scipy.linalg  # noqa: F401  (loads the library whose threads are looked at)
from threadpoolctl import ThreadpoolController, threadpool_limits

from kfgn_graph.program.threads import _is_scipys, single_threaded_lapack

NUMPYS = "site-packages/numpy.libs/libscipy_openblas64_-4b.so"
SCIPYS = "site-packages/scipy.libs/libscipy_openblas-5f.so"


def threads() -> dict[str, int]:
    return {
        library["filepath"]: library["num_threads"] for library in ThreadpoolController().info()
    }


def test_only_scipys_library_is_limited_and_only_under_jax() -> None:
    with threadpool_limits(2):
        before = threads()
        with single_threaded_lapack("numba"):
            assert threads() == before
        with single_threaded_lapack("jax"):
            during = threads()
        assert threads() == before
    expected = {path: 1 if _is_scipys(Path(path)) else count for path, count in before.items()}
    assert during == expected


def test_numpys_library_is_told_from_scipys() -> None:
    assert _is_scipys(Path(SCIPYS))
    assert _is_scipys(Path("site-packages/scipy/.dylibs/libopenblas.dylib"))
    assert not _is_scipys(Path(NUMPYS))
