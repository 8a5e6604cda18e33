"""What Numba's backend computes of single nodes, against NumPy; and what its programs hold."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import pytensor
import pytensor.scalar as ps
import pytensor.tensor as pt
import pytest
from numba.core import event
from numba.core.dispatcher import Dispatcher
from pytensor.conditional.op import ifelse
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.cache import CACHED_SRC_FUNCTIONS
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import dot

import kfgn_graph as kfgn
from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.numba.kernels import by_perform, in_python, kernel_of
from kfgn_graph.backends.numba.scalar_dispatch import InlineComposite
from kfgn_graph.backends.rewrites import graph_size
from kfgn_graph.backends.rewrites.scalar_source import python_function
from tests.cases import Case, build
from tests.losses import LOSSES
from tests.nets import chain
from tests.stepping import compile_case

REALS = np.array([-2.5, -1.0, -0.0, 0.3, 2.0, np.inf, np.nan])
INTEGERS = np.array([-3, -1, 0, 1, 2])

BINARY: dict[str, tuple[ps.ScalarOp, Callable[..., Any]]] = {
    "add": (ps.add, np.add),
    "sub": (ps.sub, np.subtract),
    "mul": (ps.mul, np.multiply),
    "true_div": (ps.true_div, np.true_divide),
    "maximum": (ps.scalar_maximum, np.maximum),
    "minimum": (ps.scalar_minimum, np.minimum),
    "lt": (ps.lt, np.less),
    "gt": (ps.gt, np.greater),
    "le": (ps.le, np.less_equal),
    "ge": (ps.ge, np.greater_equal),
    "eq": (ps.eq, np.equal),
    "neq": (ps.neq, np.not_equal),
}

UNARY: dict[str, tuple[ps.ScalarOp, Callable[..., Any]]] = {
    "neg": (ps.neg, np.negative),
    "sqr": (ps.sqr, np.square),
    "abs": (ps.abs, np.abs),
    "sqrt": (ps.sqrt, np.sqrt),
    "exp": (ps.exp, np.exp),
    "log": (ps.log, np.log),
    "log1p": (ps.log1p, np.log1p),
    "tanh": (ps.tanh, np.tanh),
    "reciprocal": (ps.reciprocal, np.reciprocal),
    "isnan": (ps.isnan, np.isnan),
    "isinf": (ps.isinf, np.isinf),
    "to int8": (ps.convert_to_int8, lambda x: np.nan_to_num(x, posinf=0).astype("int8")),
    "sin": (ps.sin, np.sin),  # one that has no source
}

LOGIC: dict[str, tuple[ps.ScalarOp, Callable[..., Any]]] = {
    "and": (ps.and_, np.logical_and),
    "or": (ps.or_, np.logical_or),
}


def values(dtype: str) -> np.ndarray:
    """Return numbers of a dtype."""
    source = {"f": REALS, "i": INTEGERS, "b": np.array([False, True])}
    return source[np.dtype(dtype).kind].astype(dtype)


def compiled(inputs: list[Variable], outputs: list[Variable]) -> Callable[..., Any]:
    """Compile for Numba."""
    return pytensor.function(inputs, outputs, mode=resolve_backend("numba", None).mode())


def wanted_of(reference: Callable[..., Any], numbers: tuple[Any, ...], dtype: str) -> Any:
    """Return NumPy's result, computed in the dtype of a real result."""
    real = np.dtype(dtype).kind == "f"
    with np.errstate(all="ignore"):
        return reference(*[n.astype(dtype) if real else n for n in numbers]).astype(dtype)


def check(ops: dict[str, tuple[ps.ScalarOp, Callable[..., Any]]], *dtypes: str) -> None:
    """Compare Ops with NumPy, by Numba for arrays and by Python for each of their numbers."""
    grid = tuple(a.ravel() for a in np.meshgrid(*map(values, dtypes), indexing="ij"))
    inputs = [pt.vector(dtype=dtype) for dtype in dtypes]
    outputs = [Elemwise(op)(*inputs) for op, _ in ops.values()]
    results = compiled(inputs, outputs)(*grid)
    scalars = [ps.get_scalar_type(dtype) for dtype in dtypes]
    for (name, (op, reference)), got, v in zip(ops.items(), results, outputs, strict=True):
        want = wanted_of(reference, grid, v.dtype)
        tolerance = 1e-12 if v.dtype == "float64" else 2e-6
        assert got.dtype == v.dtype, name
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=1e-7, err_msg=name)
        function = python_function(op, scalars)
        assert (function is None) == (name == "sin")
        if function is not None:
            with np.errstate(all="ignore"):
                alone = [function(*numbers) for numbers in zip(*grid, strict=True)]
            assert {np.asarray(n).dtype for n in alone} == {np.dtype(v.dtype)}, name
            np.testing.assert_allclose(alone, want, rtol=tolerance, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    "dtypes",
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("int8", "float32"),
        ("float64", "float32"),
        ("int64", "int64"),
        ("int8", "int8"),
    ],
    ids=" ".join,
)
def test_numbers_are_computed_as_numpy_does_in_the_dtype_of_the_result(
    dtypes: tuple[str, str],
) -> None:
    check(BINARY, *dtypes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_a_number_are_numpys(dtype: str) -> None:
    check(UNARY, dtype)


def test_what_is_true_or_false_is_computed_as_numpy_does() -> None:
    check(LOGIC, "bool", "bool")
    check({"invert": (ps.invert, np.logical_not)}, "bool")
    check({"switch": (ps.switch, np.where)}, "bool", "float32", "float32")


def test_expressions_within_expressions_are_one() -> None:
    x, y = ps.float32("x"), ps.float32("y")
    inner = ps.Composite([x, y], [x * y + x, x - y])
    p, q = inner(y, x)
    outer = InlineComposite([x, y], [p / q, q])
    a, b = values("float32"), values("float32")[::-1].copy()
    with np.errstate(all="ignore"):
        want = (a * b + b) / (b - a), b - a
        function = python_function(outer, [x.type, y.type])
        assert function is not None
        alone = np.array([function(*numbers) for numbers in zip(a, b, strict=True)]).T
    v, w = pt.fvectors("v", "w")
    for got, by_python, right in zip(
        compiled([v, w], Elemwise(outer)(v, w))(a, b), alone, want, strict=True
    ):
        np.testing.assert_allclose(got, right, rtol=1e-6)
        np.testing.assert_allclose(by_python, right, rtol=1e-6)


def orders(shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Return new orders of axes, axes of length 1 left out or new ones put between."""
    kept = [[i for i in range(len(shape)) if shape[i] > 1 or keep] for keep in (True, False)]
    turned = [order for axes in kept for order in permutations(axes)]
    return [*turned, *[("x", *order) for order in turned], *[(*order, "x") for order in turned]]


@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 3), (1, 3), (1, 1), (2, 1, 3)], ids=str)
def test_views_have_the_axes_that_are_asked_for(shape: tuple[int, ...]) -> None:
    x = pt.tensor(dtype="float64", shape=shape)
    value = np.random.default_rng(1).normal(size=shape)
    for order in orders(shape):
        node = DimShuffle(input_ndim=len(shape), new_order=order).make_node(x)
        function = in_python(node.op, node)
        assert function is not None
        got = function(value)
        axes = [axis for axis in order if axis != "x"]
        dropped = tuple(axis for axis in range(len(shape)) if axis not in axes)
        left = np.squeeze(value, dropped)
        want = np.transpose(left, np.argsort(np.argsort(axes)).tolist()) if axes else left
        for place, axis in enumerate(order):
            want = np.expand_dims(want, place) if axis == "x" else want
        assert isinstance(got, np.ndarray)
        assert np.shares_memory(got, value)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_numpys_whatever_the_order_of_the_operands(dtype: str) -> None:
    x, y = pt.matrices("x", "y")
    node = dot(x.astype(dtype), y.astype(dtype)).owner
    function = in_python(node.op, node)
    assert function is not None
    rng = np.random.default_rng(1)
    for n, k, m in [(3, 4, 5), (1, 4, 1), (3, 1, 5), (0, 4, 5), (3, 0, 5), (3, 4, 0)]:
        a, b = rng.normal(size=(n, k)).astype(dtype), rng.normal(size=(k, m)).astype(dtype)
        forms = [lambda v: v, np.asfortranarray, lambda v: np.repeat(v, 2, axis=1)[:, ::2]]
        for left, right in product(forms, forms):
            got = function(left(a), right(b))
            assert got.dtype == dtype
            assert got.flags.c_contiguous
            np.testing.assert_allclose(got, a @ b, rtol=1e-5 if dtype == "float32" else 1e-12)
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(5, 3\)"):
        function(np.ones((3, 4), dtype), np.ones((5, 3), dtype))


#: Of each copy that was made, by name: itself, and which of those before were still there.
NOTES: dict[str, tuple[Any, set[str]]] = {}


class Noted(Op):
    """Copies its input, and notes which of the copies before are still there."""

    __props__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def make_node(self, x: Variable) -> Apply:
        """Make a node."""
        return Apply(self, [x], [x.type()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Copy, and note."""
        there = {name for name, (copy, _) in NOTES.items() if copy() is not None}
        outputs[0][0] = copy = inputs[0].copy()
        NOTES[self.name] = weakref.ref(copy), there


in_python.register(Noted, by_perform)


def test_what_nobody_will_read_is_let_go() -> None:
    NOTES.clear()
    x = pt.dvector("x")
    a = Noted("a")(x)
    b = Noted("b")(a)
    c = Noted("c")(b)
    function = compiled([x], [Noted("d")(c), b])
    function(np.ones(3))
    assert NOTES["c"][1] == {"b"}
    assert NOTES["d"][1] == {"b", "c"}


@pytest.mark.parametrize("due", [0, 1])
def test_a_branch_lets_go_of_what_it_is_the_last_to_read(due: int) -> None:
    NOTES.clear()
    x, condition = pt.dvector("x"), pt.bscalar("condition")
    a = Noted("a")(x)
    b = Noted("b")(a)
    yes = Noted("yes")(Noted("sum")(a + b))
    no = Noted("no")(Noted("copy")(b))
    function = compiled([condition, x], [ifelse(condition, yes, no)])
    (result,) = function(due, np.ones(3))
    np.testing.assert_array_equal(result, np.full(3, 2.0 if due else 1.0))
    if due:
        assert NOTES["yes"][1] == {"sum"}
    else:
        assert NOTES["copy"][1] == {"b"}  # a would have been read by the other branch alone
        assert NOTES["no"][1] == {"copy"}


def test_kernels_with_and_without_fast_mathematics_are_kept_apart() -> None:
    node = pt.sin(pt.dvector("x")).owner
    kernels = []
    for fast in (True, False):
        with pytensor.config.change_flags(numba__fastmath=fast):
            kernels.append(kernel_of(node, {})[0])
    keys = {CACHED_SRC_FUNCTIONS[kernel.py_func] for kernel in kernels}
    assert len(keys) == 2


def update_of(hidden: int) -> tuple[kfgn.Update, list[np.ndarray]]:
    """Return an update of a small network, and a batch."""
    rng = np.random.default_rng(1)
    case = Case(chain("small", [5, hidden, 3], "tanh"), LOSSES["rows"])
    problem = build(case, case.values(rng), dtype="float32")
    seldom = {"factors_every": 5, "refresh_every": 10}
    update = compile_case(problem, backend="numba", step=0.1, **seldom)
    return update, [a.astype("float32") for a in case.batch(rng, 7)]


def test_a_network_of_other_sizes_finds_its_kernels_compiled() -> None:
    first, batch = update_of(4)
    first(*batch)
    second, batch = update_of(6)
    with event.install_recorder("numba:compile") as recorder:
        second(*batch)
    assert not recorder.buffer


def test_a_small_network_is_compiled_as_a_whole_and_learns_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_kernels, batch = update_of(4)
    whole, _ = update_of(4)
    by_kernels(*batch)
    # 8 numbers of an example, 39 parameters, 86 of factors and of inverses each, two counts
    monkeypatch.setattr(graph_size, "SMALL", 221)
    whole(*batch)
    programs = [u.function_for(batch).vm.jit_fn for u in (by_kernels, whole)]
    assert [isinstance(program, Dispatcher) for program in programs] == [False, True]
    monkeypatch.setattr(graph_size, "SMALL", 220)
    large, _ = update_of(4)
    assert not isinstance(large.function_for(batch).vm.jit_fn, Dispatcher)
    for _ in range(2):
        by_kernels(*batch)
        whole(*batch)
    for name, value in by_kernels.state().items():
        np.testing.assert_allclose(whole.state()[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
