"""How Numba and C are given a graph: the same values, branches lazy, nothing compiled twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.conditional.op import ifelse
from pytensor.graph.basic import Apply
from pytensor.link.c.exceptions import CompileError
from pytensor.link.c.op import COp

from kfgn_graph.backends import resolve_backend
from tests.harness import printed_apart


@pytest.fixture(scope="module")
def branching() -> Callable[..., list[np.ndarray]]:
    """Compile conditions in a branch; results of branches are new, an input, a constant."""
    outer, inner = pt.bscalar("outer"), pt.bscalar("inner")
    x, y = pt.dmatrix("x"), pt.dmatrix("y")
    sevens = pt.constant(np.full((3, 3), 7.0))
    results = ifelse(outer, list(chosen(ifelse, inner, x, y, sevens)), [x.T.dot(x), y])
    return pytensor.function(
        [outer, inner, x, y], results, mode=resolve_backend("numba", None).mode()
    )


def chosen(choose: Callable[..., Any], inner: Any, x: Any, y: Any, sevens: Any) -> tuple[Any, Any]:
    """Compute what the outer branch does, whose own results are conditions' in either order."""
    p, q = x.T.dot(y), y.T.dot(x)
    p, q = choose(inner, [p, q], [q.dot(p), p])
    p, q = choose(inner, [q.dot(q), sevens], [p, q.dot(p)])
    return p, x.dot(q)


def either(condition: int, true: list[Any], false: list[Any]) -> list[Any]:
    """Choose as a conditional does."""
    return true if condition else false


@pytest.mark.parametrize("outer", [0, 1])
@pytest.mark.parametrize("inner", [0, 1])
def test_numba_takes_the_branch_that_is_due(
    branching: Callable[..., list[np.ndarray]], outer: int, inner: int
) -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 2, 3))
    results = branching(outer, inner, x, y)
    within = chosen(either, inner, x, y, np.full((3, 3), 7.0))
    for got, want in zip(results, within if outer else (x.T @ x, y), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


LINK = """
import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.link.c.cmodule import GCC_compiler
from kfgn_graph.backends.c import CBackend

beforehand, by_itself = [], []
compile_str = GCC_compiler.compile_str

def watched(name, *args, py_module=True, **options):
    (by_itself if py_module else beforehand).append(name)
    return compile_str(name, *args, py_module=py_module, **options)

GCC_compiler.compile_str = watched
x = pt.fmatrix("x")
function = pytensor.function([x], [pt.exp(x.T).sum(0), x[1:] * 2], mode=CBackend().mode())
print(*function(np.ones((2, 3), "float32"))[0])
print("BEFOREHAND", *beforehand)
print("BY ITSELF", *by_itself)
"""


def test_c_modules_are_compiled_beforehand_and_found_on_disk(tmp_path: Path) -> None:
    (values, beforehand, by_itself), again = (printed_apart(LINK, tmp_path)[-3:] for _ in range(2))
    assert len(beforehand) - 1 > 3
    # modules of PyTensor itself, not of Ops
    assert set(by_itself) <= {"BY", "ITSELF", "cutils_ext", "lazylinker_ext"}
    assert again == [values, ["BEFOREHAND"], ["BY", "ITSELF"]]


class Wrong(COp):
    """Has C code that no compiler takes."""

    __props__ = ()

    def make_node(self, x: pt.TensorVariable) -> Apply:
        return Apply(self, [x], [x.type()])

    def perform(self, node: Apply, inputs: list, outputs: list) -> None:
        outputs[0][0] = inputs[0]

    def c_code(self, node: Apply, name: str, inputs: list, outputs: list, sub: dict) -> str:
        return "this is no C;"

    def c_code_cache_version(self) -> tuple[int, ...]:
        return (1,)


def test_c_code_that_cannot_be_compiled_is_told() -> None:
    x = pt.fvector("x")
    mode = resolve_backend("c", None).mode()
    with pytest.raises(CompileError, match="error"):
        pytensor.function([x], Wrong()(x), mode=mode)
