"""How Numba and C are given a graph: the same values, branches lazy, nothing compiled twice."""

from collections.abc import Callable
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from numba.core.dispatcher import Dispatcher
from pytensor.conditional.op import ifelse
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.link.c.exceptions import CompileError
from pytensor.link.c.op import COp

from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.numba.codegen import function_of
from tests.harness import printed_apart

pytestmark = pytest.mark.thorough


@pytest.fixture
def branching(network_size: None) -> Callable[..., list[np.ndarray]]:
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


def test_numba_has_one_kernel_for_all_nodes_that_are_computed_alike() -> None:
    x, v = pt.dmatrix("x"), pt.dvector("v")
    graph = FunctionGraph([x, v], [pt.sin(pt.sin(pt.sin(x))), pt.sin(v), pt.cos(v)], clone=False)
    program = function_of(graph, graph.toposort())
    kernels = [f for f in unwrap(program).__globals__.values() if isinstance(f, Dispatcher)]
    assert len(graph.apply_nodes) == 5
    assert len(kernels) == 3  # of a matrix's sine, and of a vector's sine and cosine
    a, b = np.random.default_rng(1).normal(size=(3, 3)), np.arange(3.0)
    wanted = [np.sin(np.sin(np.sin(a))), np.sin(b), np.cos(b)]
    for got, want in zip(program(a, b), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def kept_when_not_due(
    backend: str, returned: bool
) -> tuple[Callable[..., Any], list[pytensor.compile.SharedVariable]]:
    """Compile a function that replaces two matrices where that is due, and may return one."""
    kept = [pytensor.shared(np.full((3, 3), k), shape=(3, 3)) for k in (1.0, 2.0)]
    due, x = pt.bscalar("due"), pt.dmatrix("x")
    new = ifelse(due, [x.T @ x + kept[0], x.T @ x - kept[1]], list(kept))
    function = pytensor.function(
        [due, x],
        [new[0]] if returned else [(new[0] @ x.T).sum()],
        updates=dict(zip(kept, new, strict=True)),
        mode=resolve_backend(backend, None).mode(),
    )
    return function, kept


@pytest.mark.usefixtures("network_size")
@pytest.mark.parametrize("backend", ["numba", "c"])
@pytest.mark.parametrize("returned", [False, True])
def test_what_is_not_due_is_not_copied(backend: str, returned: bool) -> None:
    function, kept = kept_when_not_due(backend, returned)
    x, wanted = np.random.default_rng(1).normal(size=(4, 3)), [np.full((3, 3), 1.0), 2.0]
    for due in (0, 1, 0, 0, 1, 0):
        before = [v.get_value(borrow=True) for v in kept]
        (result,) = function(due, x)
        wanted = [x.T @ x + wanted[0], x.T @ x - wanted[1]] if due else wanted
        same = [v.get_value(borrow=True) is b for v, b in zip(kept, before, strict=True)]
        assert same[returned:] == [not due] * (2 - returned)  # a copy of the returned one may stay
        for v, value in zip(kept, wanted, strict=True):
            np.testing.assert_allclose(v.get_value(), np.broadcast_to(value, (3, 3)), rtol=1e-12)
        if returned:  # whoever has it may write into it
            result[:] = np.nan


class Recorded(Op):
    """Returns its input, and counts how often."""

    __props__ = ()

    def __init__(self) -> None:
        self.count = 0

    def make_node(self, x: pt.TensorVariable) -> Apply:
        return Apply(self, [x], [x.type()])

    def perform(self, node: Apply, inputs: list, outputs: list) -> None:
        self.count += 1
        outputs[0][0] = inputs[0].copy()


def test_c_computes_no_branch_for_the_sake_of_who_writes_into_what_it_reads() -> None:
    due, again, x = pt.bscalar("due"), pt.bscalar("again"), pt.dmatrix("x")
    outer, inner = Recorded(), Recorded()
    a = pt.tanh(x)
    b = outer(a)
    branch = ifelse(again, inner(b), pt.exp(b))  # writes into b, were it not for the other
    results = [1 - a * a, ifelse(due, branch, x)]  # and this into a
    function = pytensor.function([due, again, x], results, mode=resolve_backend("c", None).mode())
    value = np.random.default_rng(1).normal(size=(3, 3))
    tanh, counts = np.tanh(value), []
    for flags in ((0, 0), (0, 1), (1, 0), (1, 1)):
        wanted = (tanh if flags[1] else np.exp(tanh)) if flags[0] else value
        for got, want in zip(function(*flags, value), [1 - tanh**2, wanted], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12)
        counts.append((outer.count, inner.count))
    assert counts == [(0, 0), (0, 0), (1, 0), (2, 1)]


def test_a_choice_between_results_hands_one_of_them_over() -> None:
    x, first = pt.dmatrix("x"), pt.bscalar("first")
    a, b = x.T @ x, x @ x.T
    chosen = ifelse(first, [a, b], [b, a])
    outputs = [chosen[0] - 1, chosen[1] * a, a]  # a is needed later, and b is not
    function = pytensor.function([first, x], outputs, mode=resolve_backend("numba", None).mode())
    value = np.random.default_rng(1).normal(size=(3, 3))
    a, b = value.T @ value, value @ value.T
    for flag, (p, q) in {1: (a, b), 0: (b, a)}.items():
        for got, want in zip(function(flag, value), [p - 1, q * a, a], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12)


LINK = """
import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.link.c.cmodule import GCC_compiler
from kfgn_graph.backends.c.backend import CBackend

beforehand, by_itself = [], []
compile_str = GCC_compiler.compile_str

def watched(name, *args, py_module=True, **options):
    (by_itself if py_module else beforehand).append(name)
    return compile_str(name, *args, py_module=py_module, **options)

GCC_compiler.compile_str = watched
x = pt.fmatrix("x")
outputs = [pt.exp(x.T).sum(0), x[1:] * 2, x.T @ x]
function = pytensor.function([x], outputs, mode=CBackend().mode())
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
