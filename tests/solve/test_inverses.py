"""Each strategy of inversion against dense inverses."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.backends import resolve_backend
from kfgn_graph.curvature.kronecker import corrected_eigenvalues
from kfgn_graph.solve.base import BlockDamping
from kfgn_graph.solve.names import strategy_of
from tests.cases import build
from tests.harness import assert_close, compile_graph
from tests.matrices import semidefinite
from tests.reference import kronecker, recursions
from tests.reference.training import HEADS, REFRESHED_FIRST
from tests.stepping import DAMPING, case_of, compile_case, on_backends, values_of
from tests.tolerances import EXACT, PER_CONDITION, PER_CONDITION_SINGLE, TRAJECTORY

FACTORED = ("cholesky", "newton-schulz", "eigh")
SHAPES = [(6, 4), (1, 5), (5, 1), (1, 1)]
SHIFT = 0.3


@cache
def solver(strategy: str, shape: tuple[int, int], dtype: str) -> Any:
    """Compile (Q, G, V, gamma, old parts...) to the block's inverse times V."""
    chosen = strategy_of(strategy)
    Q, G = (pt.tensor(n, dtype=dtype, shape=(d, d)) for n, d in zip("QG", shape, strict=True))
    V, gamma = pt.tensor("V", dtype=dtype, shape=shape), pt.scalar("gamma", dtype=dtype)
    old = {
        name: pt.tensor(name, dtype=dtype, shape=value.shape)
        for name, value in chosen.initial(*shape, dtype).items()
        if chosen.warm
    }
    damping = BlockDamping(gamma, pt.constant(np.asarray(SHIFT, dtype)))
    parts = chosen.refresh(kfgn.KroneckerFactors(Q, G), gamma, old)
    inputs = [Q, G, V, gamma, *old.values()]
    result = chosen.apply(parts, V, damping)
    return pytensor.function(inputs, result, mode="JAX", on_unused_input="ignore")


def solved(strategy: str, Q: Any, G: Any, V: Any, gamma: float, dtype: str) -> np.ndarray:
    """Invert from the first values of a strategy's parts."""
    chosen = strategy_of(strategy)
    old = chosen.initial(len(Q), len(G), dtype).values() if chosen.warm else ()
    arrays = [np.asarray(a, dtype) for a in (Q, G, V, gamma)]
    return np.asarray(solver(strategy, V.shape, dtype)(*arrays, *old))


def badly_conditioned(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a matrix whose eigenvalues span ten decades."""
    vectors = np.linalg.qr(rng.normal(size=(size, size)))[0]
    return (vectors * np.logspace(0, -10, size)) @ vectors.T


def factors(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """Return Q and G of a kind."""
    make = {
        "random": semidefinite,
        "rank_one": lambda rng, d: semidefinite(rng, d, 1),
        "badly_conditioned": badly_conditioned,
        "zero": lambda rng, d: np.zeros((d, d)),
    }[kind]
    return [make(rng, d) for d in shape]


KINDS = ("random", "rank_one", "badly_conditioned", "zero")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("strategy", FACTORED)
def test_factored_damping_is_the_dense_inverse(
    strategy: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    for kind in KINDS:
        Q, G = factors(kind, shape, rng)
        V = rng.normal(size=shape)
        for gamma in (1e-2, 0.5, 20.0):
            condition = kronecker.condition(Q, G, gamma)
            tolerance = max(EXACT, PER_CONDITION * condition)
            if strategy == "newton-schulz":  # stops once the residual is under the root of eps
                tolerance = max(tolerance, np.sqrt(np.finfo("float64").eps))
            found = solved(strategy, Q, G, V, gamma, "float64")
            assert_close(found, kronecker.solve(Q, G, V, gamma), tolerance)


@pytest.mark.parametrize("strategy", FACTORED)
def test_factored_damping_in_single_precision(strategy: str, rng: np.random.Generator) -> None:
    for kind in KINDS:
        Q, G = factors(kind, (6, 4), rng)
        V = rng.normal(size=(6, 4))
        for gamma in (0.1, 2.0):
            tolerance = PER_CONDITION_SINGLE * kronecker.condition(Q, G, gamma)
            tolerance = max(tolerance, np.sqrt(np.finfo("float32").eps))
            found = solved(strategy, Q, G, V, gamma, "float32")
            assert found.dtype == np.float32
            assert_close(found, kronecker.solve(Q, G, V, gamma), tolerance)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exact_damping_is_the_dense_inverse(
    shape: tuple[int, int], rng: np.random.Generator
) -> None:
    for kind in KINDS:
        Q, G = factors(kind, shape, rng)
        V = rng.normal(size=shape)
        block = np.kron(Q, G) + SHIFT * np.eye(V.size)
        wanted = (np.linalg.inv(block) @ V.ravel()).reshape(shape)
        found = solved("exact", Q, G, V, 7.0, "float64")
        assert_close(found, wanted, max(EXACT, PER_CONDITION * np.linalg.cond(block)))


# --- Newton-Schulz ----------------------------------------------------------------------------


def iterated(
    iterations: int, A: np.ndarray, start: np.ndarray, backend: str = "jax"
) -> np.ndarray:
    """Invert a matrix by at most so many iterations from a start."""
    M, X = (pt.tensor(name, dtype=A.dtype, shape=A.shape) for name in "MX")
    least = pt.constant(np.asarray(np.linalg.eigvalsh(A).min() / 2, A.dtype))
    (found,) = kfgn.NewtonSchulz(iterations=iterations).inverses([X], [M], [least])
    mode = resolve_backend(backend, None).mode()
    return np.asarray(pytensor.function([M, X], found, mode=mode)(A, start))


@pytest.mark.parametrize("backend", on_backends(["jax", "numba", "c"]))
def test_newton_schulz_starts_from_the_last_inverse(
    backend: str, rng: np.random.Generator
) -> None:
    """A fifth of an average is new: of its eigenvalues by the old inverse few are far from 1."""
    d = 60
    scales = np.geomspace(1, 0.1, d)
    outer = np.outer(scales, scales)
    old, new = (outer * (semidefinite(rng, d, 2 * d) / d + 0.01 * np.eye(d)) for _ in range(2))
    A = 0.8 * old + 0.2 * new
    warm = iterated(3, A, np.linalg.inv(old), backend)
    cold = iterated(3, A, np.zeros((d, d)), backend)
    assert np.linalg.norm(np.eye(d) - A @ warm) < np.sqrt(np.finfo("float32").eps)
    assert np.linalg.norm(np.eye(d) - A @ cold) > 0.1


def test_newton_schulz_is_soon_there_from_a_nearby_inverse(rng: np.random.Generator) -> None:
    A = semidefinite(rng, 8) + 0.1 * np.eye(8)
    nearby = A + 1e-4 * semidefinite(rng, 8)
    assert_close(iterated(3, A, np.linalg.inv(nearby)), np.linalg.inv(A), 1e-9)


@pytest.mark.parametrize("start", ["identity", "zero", "huge", "nan"])
def test_newton_schulz_starts_anew_where_the_last_inverse_is_far(
    start: str, rng: np.random.Generator
) -> None:
    A = badly_conditioned(rng, 8) + 1e-4 * np.eye(8)
    first = {
        "identity": np.eye(8),
        "zero": np.zeros((8, 8)),
        "huge": 1e6 * np.eye(8),
        "nan": np.full((8, 8), np.nan),
    }[start]
    assert_close(iterated(40, A, first), np.linalg.inv(A), 1e-7)


def test_the_error_of_newton_schulz_grows_with_the_condition_not_its_square(
    rng: np.random.Generator,
) -> None:
    """In float32 and at a condition of 1e4, whose square times the precision is 6."""
    d, condition = 60, 1e4
    vectors = np.linalg.qr(rng.normal(size=(d, d)))[0]
    A = ((vectors * np.geomspace(1, 1 / condition, d)) @ vectors.T).astype("float32")
    found = iterated(40, A, np.eye(d, dtype="float32")).astype("float64")
    error = np.linalg.norm(np.eye(d) - A.astype("float64") @ found)
    assert error < 10 * condition * np.finfo("float32").eps


def test_matrices_that_are_multiplied_together_are_inverted_each(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: widened to widths in common, and in a loop that ends with the last of them."""
    monkeypatch.setattr("kfgn_graph.backends.jax.dispatch.multiple", lambda: 8)
    widths = (5, 8, 9, 16, 30)
    matrices = [semidefinite(rng, d) + 10.0**-k * np.eye(d) for k, d in enumerate(widths)]
    A = [pt.tensor(shape=m.shape) for m in matrices]
    X = [pt.tensor(shape=m.shape) for m in matrices]
    least = [pt.constant(0.9 * 10.0**-k) for k in range(len(widths))]
    graph = compile_graph([*A, *X], kfgn.NewtonSchulz().inverses(X, A, least), "JAX")
    starts = [
        np.eye(d) if d % 2 else np.linalg.inv(1.5 * m)
        for d, m in zip(widths, matrices, strict=True)
    ]
    for m, found in zip(matrices, graph(*matrices, *starts), strict=True):
        assert_close(np.asarray(found), np.linalg.inv(m), 1e-7)


# --- EKFAC ------------------------------------------------------------------------------------


def test_corrected_eigenvalues_are_their_definition(rng: np.random.Generator) -> None:
    K, N, d_in, d_out = 3, 5, 4, 2
    a, C = rng.normal(size=(N, d_in)), rng.normal(size=(K, N, d_out))
    U, W = (np.linalg.qr(rng.normal(size=(d, d)))[0] for d in (d_in, d_out))
    variables = [
        pt.tensor(name, shape=v.shape) for name, v in zip("aCUW", (a, C, U, W), strict=True)
    ]
    found = compile_graph(variables, corrected_eigenvalues(*variables))(a, C, U, W)
    basis = np.kron(U, W)
    block = np.zeros((d_in * d_out, d_in * d_out))
    wanted = np.zeros((d_in, d_out))
    for n in range(N):
        for k in range(K):
            block += np.kron(np.outer(a[n], a[n]), np.outer(C[k, n], C[k, n]))
            for i in range(d_in):
                for j in range(d_out):
                    wanted[i, j] += (U[:, i] @ a[n]) ** 2 * (W[:, j] @ C[k, n]) ** 2
    assert_close(found, wanted, EXACT)
    assert_close(found.ravel(), np.diag(basis.T @ block @ basis), EXACT)


@pytest.mark.parametrize("backend", on_backends(["jax", "c", "numba"]))
def test_ekfac_updates_are_the_transcription(backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    values = case.values(rng)
    problem = build(case, values)
    decay, every, l2 = 0.8, 4, 0.01
    update = compile_case(
        problem,
        "KFLR",
        backend=backend,
        inverse="ekfac",
        curvature_decay=decay,
        refresh_every=every,
        l2=l2,
    )
    transcription = Corrected(values, decay, every, l2)
    for k in range(16):
        if k == 6:  # the weights of the averages no longer change: on to where not all is due
            transcription.count = REFRESHED_FIRST - 2
            update.load_state(update.state() | {"count": np.asarray(transcription.count, "int32")})
        x, y = case.batch(rng, 8)
        transcription.update(x, y)
        assert not update(x, y).skipped
        for i, theta in enumerate(transcription.thetas):
            moved = values_of(problem)
            assert_close(np.vstack([moved[f"W{i}"], moved[f"b{i}"]]), theta, TRAJECTORY)


class Corrected:
    """EKFAC by KFLR for a tanh net of two layers, with dense per-example blocks."""

    def __init__(self, values: Any, decay: float, every: int, l2: float) -> None:
        self.thetas = [np.vstack([values[f"W{i}"], values[f"b{i}"]]) for i in (0, 1)]
        self.decay, self.every, self.l2, self.count = decay, every, l2, 0
        self.factors: list[Any] = [None, None]
        self.bases: list[Any] = [None, None]
        self.moments: list[Any] = [None, None]

    def update(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take one step of length one."""
        self.count += 1
        past = min(1 - 1 / self.count, self.decay)
        weights, biases = [t[:-1] for t in self.thetas], [t[-1] for t in self.thetas]
        run = recursions.forward(weights, biases, ["tanh"], x)
        _, by_output, hessian = HEADS["bernoulli"](run.output, y)
        slopes = recursions.gradients(run, weights, by_output)
        per_example = [
            self._curvature(weights, x[n : n + 1], hessian[n : n + 1]) for n in range(len(x))
        ]
        for i in (0, 1):
            a = np.hstack([run.inputs[i], np.ones((len(x), 1))])
            Gs = [G[i] for G in per_example]
            fresh = a.T @ a / len(x), sum(Gs)
            old = self.factors[i] or fresh
            self.factors[i] = [past * o + (1 - past) * f for o, f in zip(old, fresh, strict=True)]
            if self.count <= REFRESHED_FIRST or self.count % self.every == 0:
                self._rotate(i, [np.linalg.eigh(f)[1] for f in self.factors[i]])
            basis = np.kron(*self.bases[i])
            block = sum(np.kron(np.outer(r, r), G) for r, G in zip(a, Gs, strict=True))
            now = np.diag(basis.T @ block @ basis)
            before = now if self.moments[i] is None else self.moments[i]
            self.moments[i] = past * before + (1 - past) * now
            gradient = (slopes[i] + self.l2 * self.thetas[i]).ravel()
            step = basis @ ((basis.T @ gradient) / (self.moments[i] + DAMPING + self.l2))
            self.thetas[i] = self.thetas[i] - step.reshape(self.thetas[i].shape)

    def _curvature(self, weights: Any, x: np.ndarray, hessian: np.ndarray) -> list[np.ndarray]:
        biases = [t[-1] for t in self.thetas]
        return recursions.kflr(weights, recursions.forward(weights, biases, ["tanh"], x), hessian)

    def _rotate(self, i: int, vectors: list[np.ndarray]) -> None:
        """Change the basis; the moments become the new basis' diagonal of what they stood for."""
        if self.moments[i] is not None:
            across = np.kron(*vectors).T @ np.kron(*self.bases[i])
            self.moments[i] = np.diag(across @ np.diag(self.moments[i]) @ across.T)
        self.bases[i] = vectors
