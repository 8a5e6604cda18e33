"""Inverses of damped factors on every backend, and a program without arrays in its code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.graph.basic import Constant, Variable

import kfgn_graph as kfgn
from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.rewrites.graph_size import is_small
from kfgn_graph.backends.rewrites.strided_diagonal import STRIDED_DIAGONALS
from kfgn_graph.linalg.matrices import (
    RefreshedInverse,
    ShiftedInverse,
    shifted_diagonal_inverse,
    shifted_inverse,
)
from tests.graphs import WIDTHS, nodes_within, step_graph, step_update
from tests.harness import MODES, compile_graph, printed_apart
from tests.matrices import layouts
from tests.stepping import on_backends

TOLERANCES = {"float32": 1e-4, "float64": 1e-11}


@cache
def inverse_on(backend: str, dtype: str) -> Any:
    """Compile (A + s I)^-1."""
    A, shift = pt.matrix("A", dtype=dtype), pt.scalar("s", dtype=dtype)
    mode = resolve_backend(backend, None).mode()
    return pytensor.function([A, shift], shifted_inverse(A, shift), mode=mode)


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_inverse_of_every_size_and_layout(
    dtype: str, backend: str, rng: np.random.Generator
) -> None:
    inverse = inverse_on(backend, dtype)
    for d in (1, 2, 7, 130):
        X = rng.standard_normal((2 * d, d))
        A = (X.T @ X / d).astype(dtype)
        want = np.linalg.inv(A.astype(float) + 0.5 * np.eye(d))
        for same in layouts(A):
            got = np.asarray(inverse(same, np.asarray(0.5, dtype)))
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCES[dtype])
            np.testing.assert_allclose(got, got.T, rtol=0, atol=TOLERANCES[dtype])


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_a_matrix_that_is_not_definite_has_no_inverse(backend: str) -> None:
    inverse = inverse_on(backend, "float64")
    for A in (np.diag([1.0, -2.0, 3.0]), np.zeros((3, 3)), np.full((3, 3), np.nan)):
        assert np.isnan(inverse(A, np.asarray(0.0))).all()
    assert np.isfinite(inverse(np.diag([1.0, -2.0, 3.0]), np.asarray(2.5))).all()


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_a_second_attempt_has_more_damping(backend: str, rng: np.random.Generator) -> None:
    A, B, s = pt.matrix("A"), pt.matrix("B"), pt.scalar("s")
    inverse = ShiftedInverse(retry=1000.0)(A, s)
    mode = resolve_backend(backend, None).mode()
    function = pytensor.function([A, B, s], [inverse @ B], mode=mode)
    alone = pytensor.function([A, s], inverse, mode=mode)
    V = rng.standard_normal((3, 2))
    for M, shift, used in (
        (np.diag([1.0, -2.0, 3.0]), 2.5, 2.5),
        (np.diag([1.0, -2.0, 3.0]), 0.1, 100.0),
        (np.diag([1.0, -2.0, 3.0]), 1e-4, np.nan),
        (np.full((3, 3), np.nan), 1.0, np.nan),
    ):
        want = np.linalg.inv(M + used * np.eye(3)) if used == used else np.full((3, 3), np.nan)
        np.testing.assert_allclose(alone(M, shift), want, rtol=0, atol=TOLERANCES["float64"])
        (product,) = function(M, V, shift)
        np.testing.assert_allclose(product, want @ V, rtol=0, atol=TOLERANCES["float64"])


def refreshed_on(backend: str, d: int) -> tuple[Any, Any]:
    """Compile a kept inverse's update, and return the variable that keeps it."""
    kept = pytensor.shared(np.eye(d), name="kept", shape=(d, d))
    A, s, due = pt.matrix("A", shape=(d, d)), pt.scalar("s"), pt.scalar("due", dtype="bool")
    new, finite = RefreshedInverse(retry=1000.0)(kept, A, s, due)
    mode = resolve_backend(backend, None).mode()
    function = pytensor.function([A, s, due], finite, updates={kept: new}, mode=mode)
    return function, kept


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_a_kept_inverse_is_replaced_only_if_due_and_finite(
    backend: str, rng: np.random.Generator
) -> None:
    d = 140
    function, kept = refreshed_on(backend, d)
    X = rng.standard_normal((2 * d, d))
    A = X.T @ X / d
    B = A.copy()
    B[0, 0] = -1e9
    for M, shift, due, finite, want in (
        (A, 0.5, False, True, np.eye(d)),
        (A, 0.5, True, True, np.linalg.inv(A + 0.5 * np.eye(d))),
        (B, 0.5, True, False, np.linalg.inv(A + 0.5 * np.eye(d))),
        (B, 0.5, False, True, np.linalg.inv(A + 0.5 * np.eye(d))),
        (B, 1e7, True, True, np.linalg.inv(B + 1e10 * np.eye(d))),
    ):
        assert bool(function(M, np.asarray(shift), np.asarray(due))) == finite
        got = np.asarray(kept.get_value())
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * abs(want).max())


@pytest.mark.parametrize("backend", on_backends([b for b in MODES if b != "jax"]))
def test_a_kept_inverse_stays_where_it_is(backend: str) -> None:
    function, kept = refreshed_on(backend, 3)
    before = kept.get_value(borrow=True)
    function(2 * np.eye(3), np.asarray(0.0), np.asarray(True))
    assert np.shares_memory(before, kept.get_value(borrow=True))
    np.testing.assert_allclose(before, np.eye(3) / 2)


def products_on(backend: str) -> tuple[Any, Any]:
    """Compile products with an inverse, from either side, alone and with the inverse itself."""
    A, B, s = pt.matrix("A"), pt.matrix("B"), pt.scalar("s")
    inverse = shifted_inverse(A, s)
    products = [inverse @ B, B.T @ inverse, inverse @ B[:, 0]]
    mode = resolve_backend(backend, None).mode()
    alone = pytensor.function([A, B, s], products, mode=mode)
    return alone, pytensor.function([A, B, s], [*products, inverse], mode=mode)


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_an_inverse_that_is_multiplied_with(backend: str, rng: np.random.Generator) -> None:
    X, V = rng.standard_normal((9, 5)), rng.standard_normal((5, 3))
    want = np.linalg.inv(X.T @ X + 0.5 * np.eye(5))
    wanted = [want @ V, V.T @ want, want @ V[:, 0], want]
    for function in products_on(backend):
        for got, value in zip(function(X.T @ X, V, 0.5), wanted, strict=False):
            np.testing.assert_allclose(got, value, rtol=0, atol=TOLERANCES["float64"])


@cache
def solve_on(backend: str, left: bool) -> Any:
    """Compile one product with an inverse, which may be tried again, of every layout of B."""
    A, B, s = pt.matrix("A", dtype="float32"), pt.matrix("B", dtype="float32"), pt.fscalar("s")
    inverse = ShiftedInverse(retry=1000.0)(A, s)
    product = inverse @ B if left else B @ inverse
    mode = resolve_backend(backend, None).mode()
    return pytensor.function([A, B, s], product, mode=mode)


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("left", [True, False])
def test_one_product_with_an_inverse_is_solved(
    left: bool, backend: str, rng: np.random.Generator
) -> None:
    function = solve_on(backend, left)
    d, shift = 40, np.float32(0.5)
    X = rng.standard_normal((2 * d, d))
    A = (X.T @ X / d).astype("float32")
    want = np.linalg.inv(A.astype(float) + 0.5 * np.eye(d))
    for m in (0, 1, d - 1, d, 2 * d):
        B = rng.standard_normal((d, m) if left else (m, d)).astype("float32")
        for same in layouts(B):
            before = same.copy()
            got = np.asarray(function(A, same, shift))
            assert got.dtype == np.float32
            product = want @ before if left else before @ want
            np.testing.assert_allclose(got, product, rtol=0, atol=TOLERANCES["float32"])
            np.testing.assert_array_equal(same, before)
    for M in (np.diag([1.0, -2000.0]), np.full((2, 2), np.nan)):
        assert np.isnan(
            np.asarray(function(M.astype("float32"), np.eye(2, dtype="f"), shift))
        ).all()


@pytest.mark.parametrize("backend", on_backends(["numba", "c"]))
@pytest.mark.usefixtures("network_size")
def test_large_networks_make_no_inverse_where_all_is_fresh(backend: str) -> None:
    """Each layer has two systems to solve, but for the output's G, which is diagonal."""
    plain = {"step": 0.1, "damping": kfgn.ConstantDamping(0.1)}
    update = step_update(backend, factors_every=1, refresh_every=1, **plain)
    graph = update.function_for([np.zeros((7, WIDTHS[0]), "float32")]).maker.fgraph
    ops = [type(node.op).__name__ for node in nodes_within(graph)]
    systems = 2 * (len(WIDTHS) - 1) - 1
    counts = ops.count("ShiftedSolve"), ops.count("ShiftedInverse")
    assert counts == ((0, systems) if is_small(graph) else (systems, 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_inverse_of_a_diagonal_is_that_of_any_matrix(dtype: str) -> None:
    A, s = pt.matrix("A", dtype=dtype), pt.scalar("s", dtype=dtype)
    inverses = [
        made(A, s, retry)
        for retry in (0.0, 1000.0)
        for made in (shifted_diagonal_inverse, lambda A, s, retry: ShiftedInverse(retry)(A, s))
    ]
    function = compile_graph([A, s], inverses)
    for numbers in ([1.0, 0.0, 3.0], [1.0, -2.0, 3.0], [1.0, -20000.0, 3.0], [1.0, np.nan, 3.0]):
        given = np.diag(np.asarray(numbers, dtype)), np.asarray(0.5, dtype)
        for once, want in batched(function(*given), 2):
            assert once.dtype == dtype
            np.testing.assert_allclose(once, want, rtol=TOLERANCES[dtype])


def test_xla_solves_where_an_inverse_is_but_multiplied_with_once() -> None:
    alone, several = solve_on("jax", left=True), products_on("jax")[1]
    for function, kind in ((alone, "ShiftedSolve"), (several, "ShiftedInverse")):
        names = [type(node.op).__name__ for node in nodes_within(function.maker.fgraph)]
        assert [name for name in names if name.startswith("Shifted")] == [kind]


def test_the_gradient_of_an_inverse(rng: np.random.Generator) -> None:
    X, C = pt.matrix("X"), rng.standard_normal((4, 4))
    s = pt.scalar("s")
    inverse = shifted_inverse(X.T @ X, s)
    function = pytensor.function([X, s], pytensor.grad((inverse * C).sum(), [X, s]))
    at, shift, step = rng.standard_normal((6, 4)), np.asarray(0.7), 1e-6

    def value(X: np.ndarray, s: float) -> float:
        return float((np.linalg.inv(X.T @ X + s * np.eye(4)) * C).sum())

    gradient, of_shift = function(at, shift)
    for i, j in np.ndindex(*at.shape):
        moved = step * np.eye(1, at.size, i * 4 + j).reshape(at.shape)
        slope = (value(at + moved, shift) - value(at - moved, shift)) / (2 * step)
        np.testing.assert_allclose(gradient[i, j], slope, rtol=1e-5, atol=1e-6)
    slope = (value(at, shift + step) - value(at, shift - step)) / (2 * step)
    np.testing.assert_allclose(of_shift, slope, rtol=1e-5)


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("refresh_every", [1, 10])
def test_the_program_holds_no_matrix(refresh_every: int, backend: str) -> None:
    """Identities are made when it runs: as data they would be d^2 numbers of its code."""
    graph = step_graph(backend, method=kfgn.KFRA(), refresh_every=refresh_every)
    sizes = [np.size(v.data) for v in inputs_within(graph) if isinstance(v, Constant)]
    assert sizes
    assert max(sizes) <= max(WIDTHS)


def inputs_within(graph: Any) -> Iterator[Variable]:
    """Yield every Op's inputs, within Ops and branches too."""
    for node in nodes_within(graph):
        yield from node.inputs


COMPILE = """
from numba.core import event
from tests.graphs import WIDTHS, step_update
import numpy as np

class Compiled(event.Listener):
    names = []
    def on_start(self, event):
        self.names.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

event.register("numba:compile", Compiled())
update = step_update("numba")
print("LOSS", float(update(np.full((7, WIDTHS[0]), 0.5, "float32")).loss))
print("COMPILED", *Compiled.names)
"""


@pytest.mark.slow
def test_what_numba_compiled_is_found_again_on_disk(tmp_path: Path) -> None:
    runs = [printed_apart(COMPILE, tmp_path) for _ in range(2)]
    first, second = ({line[0]: line[1:] for line in lines if line} for lines in runs)
    assert first["LOSS"] == second["LOSS"]
    # the whole is one function, branches and all, and it is compiled once
    assert first["COMPILED"].count("program") == 1
    assert "lazy_ifelse" not in first["COMPILED"]
    assert not {"program", "elemwise"} & set(second["COMPILED"])


COMPILE_WITH_JAX = """
import os
import jax
import numpy as np
from tests.graphs import WIDTHS, step_update

jax.config.update("jax_compilation_cache_dir", {folder!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
update = step_update("jax")
print(float(update(np.full((7, WIDTHS[0]), 0.5, "float32")).loss))
print(*sorted(name for name in os.listdir({folder!r}) if name.endswith("-cache")))
"""


@pytest.mark.slow
def test_what_jax_compiled_is_found_again_in_its_cache(tmp_path: Path) -> None:
    program = COMPILE_WITH_JAX.format(folder=str(tmp_path / "jax"))
    first, second = (printed_apart(program, tmp_path) for _ in range(2))
    assert len(first[1]) > 0
    assert first == second  # else the second would have added programs of its own


def test_jax_reads_a_diagonal_by_its_stride(rng: np.random.Generator) -> None:
    A = pt.matrix("A", shape=(5, 5))
    mode = resolve_backend("jax", None).mode().including(STRIDED_DIAGONALS)  # as on a GPU
    found = pytensor.function([A], [pt.trace(A), pt.diagonal(A)], mode=mode)
    ops = [type(node.op).__name__ for node in found.maker.fgraph.apply_nodes]
    assert "ExtractDiag" not in ops
    value = rng.normal(size=(5, 5))
    for same in layouts(value):
        total, diagonal = found(same)
        np.testing.assert_allclose(total, np.trace(value), rtol=1e-14)
        np.testing.assert_array_equal(diagonal, np.diag(value))


def test_jax_inverts_few_rows_without_lapack(rng: np.random.Generator) -> None:
    A, s = pt.matrix("A", shape=(3, 3)), pt.scalar("s")
    function = pytensor.function(
        [A, s], shifted_inverse(A, s), mode=resolve_backend("jax", None).mode()
    )
    program = function.vm.jit_fn.lower(np.eye(3), np.asarray(0.0)).as_text()
    assert "custom_call" not in program
    value = np.tril(rng.normal(size=(3, 3))) + 9 * np.eye(3)  # only this triangle is read
    whole = np.tril(value) + np.tril(value, -1).T
    np.testing.assert_allclose(function(value, 0.5), np.linalg.inv(whole + 0.5 * np.eye(3)))
