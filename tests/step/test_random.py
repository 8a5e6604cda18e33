"""Losses that draw random numbers: all passes of an update see one draw, the next sees another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.random.utils import RandomStream

import kfgn_graph as kfgn
from kfgn_graph.update.generators import packed, unpacked
from tests.harness import MODES
from tests.stepping import assert_identical, on_backends

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore:RandomStream is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:RandomVariable Ops:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Setting default_update:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*will not be used in the compiled JAX graph:UserWarning"),
]

N, SEED = 12, 7
ADAPTIVE: dict[str, Any] = {
    "damping": kfgn.LevenbergMarquardt(gamma="search", gamma_every=2),
    "step": kfgn.Rescaling(examples=6),
    "factors_every": 2,
    "refresh_every": 2,
}
Draws = Callable[..., list[pt.TensorVariable]]


def generator(seed: int = SEED) -> Any:
    return pt.random.shared_rng(seed=seed, name="rng")


def masked(x: Any, h: Any) -> list[Any]:
    return [generator().bernoulli(0.5, size=h.shape)[1]]


def chained(x: Any, h: Any) -> list[Any]:
    state, noise = generator().normal(size=x.shape)
    return [state.bernoulli(0.5, size=h.shape)[1], noise]


def streamed(x: Any, h: Any) -> list[Any]:
    return [RandomStream(seed=SEED).bernoulli(0.5, size=h.shape)]


def of_all_examples(x: Any, h: Any) -> list[Any]:
    return [generator().uniform(size=(6,))[1]]


class Net:
    """A net with draws, or with the arrays ``given`` in their place."""

    def __init__(self, draws: Draws, given: bool = False) -> None:
        rng = np.random.default_rng(1)
        self.x, t = pt.matrix("x", shape=(None, 5)), pt.matrix("t", shape=(None, 2))
        W, V = (
            pytensor.shared(rng.normal(size=s) / 2, name=n, shape=s)
            for n, s in (("W", (5, 6)), ("V", (6, 2)))
        )
        self.draws = draws(self.x, pt.tanh(self.x @ W))
        used = [self._stand_in(v) for v in self.draws] if given else self.draws
        noisy = self.x + 0.1 * used[1] if used[1:] else self.x
        h = pt.tanh(noisy @ W) * used[0]
        self.loss = ((h @ V - t) ** 2).sum(axis=1).mean()
        self.params, self.inputs = [W, V], [self.x, t]
        self.given = used if given else []

    @staticmethod
    def _stand_in(draw: Any) -> Any:
        if draw.type.ndim == 1:
            return pytensor.shared(np.zeros(6))
        return pt.tensor(dtype=draw.type.dtype, shape=(None, draw.type.shape[1]))

    def update(self, backend: str, **settings: Any) -> kfgn.Update:
        extra = [v for v in self.given if v.type.ndim == 2]
        inputs = [*self.inputs, *extra]
        return kfgn.compile_update(
            self.loss, self.params, inputs, backend=backend, **ADAPTIVE | settings
        )

    def values(self) -> list[np.ndarray]:
        return [np.array(p.get_value()) for p in self.params]


def batches(count: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(2)
    return [[rng.normal(size=(N, 5)), rng.normal(size=(N, 2))] for _ in range(count)]


def drawn_by_pytensor(draws: Draws, backend: str, count: int) -> list[list[np.ndarray]]:
    """Return what a plain function draws in successive calls."""
    x = pt.matrix("x", shape=(N, 5))
    found = draws(x, x @ np.zeros((5, 6)))
    state = next(v for v in found[0].owner.outputs if v is not found[0])
    root = next(
        v
        for v in pytensor.graph.traversal.graph_inputs(found)
        if isinstance(v, pytensor.compile.SharedVariable)
    )
    mode = MODES[backend]
    function = pytensor.function(
        [x], found, updates={root: state}, mode=mode, on_unused_input="ignore"
    )
    return [
        [np.asarray(a).astype(v.type.dtype) for a, v in zip(function(b[0]), found, strict=True)]
        for b in batches(count)
    ]


def loss_by_loop(values: list[np.ndarray], x: Any, t: Any, mask: Any, noise: Any) -> float:
    W, V = values
    total = 0.0
    for n in range(N):
        h = np.tanh((x[n] + 0.1 * noise[n]) @ W) * (mask[n] if mask.ndim == 2 else mask)
        total += ((h @ V - t[n]) ** 2).sum() / N
    return total


@pytest.mark.parametrize(
    ("draws", "backend"),
    [
        pytest.param(masked, "jax", marks=pytest.mark.slow),
        pytest.param(streamed, "jax", marks=pytest.mark.slow),
        pytest.param(of_all_examples, "jax", marks=pytest.mark.slow),
        *[
            pytest.param(chained, *p.values, marks=p.marks)
            if hasattr(p, "values")
            else (chained, p)
            for p in on_backends(MODES)
        ],
    ],
)
def test_all_passes_see_the_draw_of_the_loss(draws: Draws, backend: str) -> None:
    """An update that draws is the update that is given the same arrays as inputs."""
    random, fixed = Net(draws), Net(draws, given=True)
    update, judge = random.update(backend), fixed.update(backend)
    known = drawn_by_pytensor(draws, backend, 5)
    assert not np.array_equal(known[0][0], known[1][0])
    for batch, arrays in zip(batches(5), known, strict=True):
        noise = arrays[1] if arrays[1:] else np.zeros((N, 5))
        expected = loss_by_loop(random.values(), *batch, arrays[0], noise)
        for v, a in zip(fixed.given, arrays, strict=True):
            if v.type.ndim == 1:
                v.set_value(a)
        extra = [a for v, a in zip(fixed.given, arrays, strict=True) if v.type.ndim == 2]
        stats, same = update(*batch), judge(*batch, *extra)
        assert stats.loss == pytest.approx(expected, rel=1e-10)
        for name, value in same.as_dict().items():
            assert getattr(stats, name) == pytest.approx(value, rel=1e-7, nan_ok=True), name
    for one, other in zip(random.values(), fixed.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_random_state_resumes_bit_for_bit(backend: str, tmp_path: Path) -> None:
    straight, other = Net(chained), Net(chained)
    update = straight.update(backend)
    data = batches(5)
    for batch in data[:2]:
        update(*batch)
    update(*(a[:8] for a in data[0]))  # another size goes on with the same draws
    path = tmp_path / "state.safetensors"
    update.save(path)
    resumed = other.update(backend)
    resumed.load(path)
    assert "shared/rng" in update.state()
    assert_identical(resumed.state(), update.state())
    losses = [[each(*batch).loss for batch in data[3:]] for each in (update, resumed)]
    assert losses[0] == losses[1]
    assert_identical(resumed.state(), update.state())
    rows = np.arange(2 * N).reshape(2, N)[:, ::-1] % N
    apart = [resumed(*(a[r] for a in data[0])).loss for r in rows]
    np.testing.assert_allclose(update.many(data[0], rows).loss, apart, rtol=1e-9)


@pytest.mark.parametrize("mode", on_backends(MODES))
def test_the_updates_dictionary_advances_generators(mode: str) -> None:
    net, twin = Net(masked), Net(masked)
    settings = {"damping": kfgn.ConstantDamping(0.1), "step": 1.0}
    updates = kfgn.kfgn_updates(net.loss, net.params, **settings)
    x, t = pt.matrix(shape=(N, 5)), pt.matrix(shape=(N, 2))
    givens = dict(zip(net.inputs, (x, t), strict=True))
    step = pytensor.function([x, t], net.loss, updates=updates, givens=givens, mode=MODES[mode])
    update = twin.update(mode, **settings)
    for batch in batches(4):
        assert float(step(*batch)) == pytest.approx(update(*batch).loss, rel=1e-9)


def test_default_updates_of_other_shared_variables() -> None:
    """A running mean is updated as by a plain function, and not by a batch that is skipped."""

    def built() -> tuple[Net, Any]:
        net = Net(masked)
        mean = pytensor.shared(np.zeros(5), name="mean", shape=(5,))
        mean.default_update = 0.9 * mean + 0.1 * net.x.mean(axis=0)
        centred = pt.tanh((net.x - mean) @ net.params[0]) * net.draws[0]
        net.loss = ((centred @ net.params[1] - net.inputs[1]) ** 2).mean()
        return net, mean

    (net, mean), (plain, expected) = built(), built()
    update = net.update("jax")
    function = pytensor.function(
        plain.inputs, plain.loss, mode="FAST_COMPILE", on_unused_input="ignore"
    )
    for k, batch in enumerate(batches(4)):
        if k == 2:
            assert update(batch[0] * np.nan, batch[1]).skipped
        update(*batch)
        function(*batch)
        np.testing.assert_allclose(np.asarray(mean.get_value()), expected.get_value(), rtol=1e-12)
    np.testing.assert_array_equal(update.state()["shared/mean"], mean.get_value())


@pytest.mark.slow
def test_draws_of_minibatches_by_index_are_those_of_batches() -> None:
    rng = np.random.default_rng(0)
    X, T = (pytensor.shared(rng.normal(size=(3 * N, d)), name=n) for n, d in (("X", 3), ("T", 2)))
    number, rows = pt.lscalar("i"), lambda k: slice(k * N, (k + 1) * N)

    def built(x: Any, t: Any, inputs: list[Any]) -> kfgn.Update:
        W = pytensor.shared(np.ones((3, 2)), name="W", shape=(3, 2))
        mean = pytensor.shared(0.0, name="mean")
        mean.default_update = 0.9 * mean + x.mean()
        mask = generator().bernoulli(0.5, size=x.shape)[1]
        loss = ((((x - mean) * mask) @ W - t) ** 2).sum(axis=1).mean()
        return kfgn.compile_update(loss, [W], inputs, backend="jax")

    x, t = pt.matrix("x", shape=(None, 3)), pt.matrix("t", shape=(None, 2))
    by_index, by_batch = built(X[rows(number)], T[rows(number)], [number]), built(x, t, [x, t])
    for k in (0, 2, 2):
        batch = [v.get_value()[rows(k)] for v in (X, T)]
        assert by_index(k).loss == pytest.approx(by_batch(*batch).loss, rel=1e-12)
    assert by_index.state()["shared/mean"] != 0
    assert by_index.state().keys() == by_batch.state().keys()
    for name, array in by_index.state().items():
        np.testing.assert_allclose(array, by_batch.state()[name], rtol=1e-9, err_msg=name)


def test_dropout_of_a_library() -> None:
    layers = pytest.importorskip("pytensor_ml.layers")
    model = pytest.importorskip("pytensor_ml.model")
    x = layers.Input("X", shape=(None, 5))
    network = layers.Sequential(
        layers.Linear("a", n_in=5, n_out=6),
        layers.Dropout("d", p=0.5, random_state=0),
        layers.Linear("b", n_in=6, n_out=2),
    )
    made = model.Model(network(x)).initialize(seed=0)
    t = pt.matrix("t", dtype=made.y.dtype)
    update = kfgn.compile_update(
        ((made.y - t) ** 2).mean(), made.weights, [x, t], backend="jax", step=0.0,
        damping=kfgn.ConstantDamping(1.0),
    )  # fmt: skip
    batch = [a.astype(made.y.dtype) for a in batches(1)[0]]
    losses = [update(*batch).loss for _ in range(4)]
    assert len(set(losses)) == 4
    assert "shared/d/rng_0" in update.state()


def test_draws_that_no_update_can_train_are_refused() -> None:
    net = Net(masked)
    W, V = net.params
    h, rng = pt.tanh(net.x @ W), generator()
    with pytest.raises(kfgn.CurvatureRuleNotFound, match="distribution that depends"):
        noise = rng.normal(h @ V, 1.0)[1]
        kfgn.compile_update(((noise - net.inputs[1]) ** 2).mean(), [W, V], net.inputs)
    twice = [pt.random.normal(loc, size=h.shape, rng=rng) for loc in (0.0, 1.0)]
    with pytest.raises(kfgn.NotABatchLossError, match=r"2 draws read the same state.*'rng'"):
        loss = (((h + twice[0]) * twice[1] @ V - net.inputs[1]) ** 2).mean()
        kfgn.compile_update(loss, [W, V], net.inputs)


def test_a_generator_without_a_jax_key_is_named() -> None:
    net = Net(lambda x, h: [
        pt.random.shared_rng(np.random.Generator(np.random.MT19937(1)), name="twister")
        .uniform(size=h.shape)[1]
    ])  # fmt: skip
    with pytest.raises(kfgn.BackendError, match=r"'twister'.*MT19937"):
        net.update("jax")


def test_random_state_of_another_backend_is_refused() -> None:
    state = Net(masked).update("numba").state()
    with pytest.raises(kfgn.CheckpointError, match=r"shared/rng is uint64.*another backend"):
        Net(masked).update("jax").load_state(state)


def test_a_state_from_before_generators_were_saved_keeps_the_generator() -> None:
    update, other = Net(masked).update("jax"), Net(masked).update("jax")
    state = update.state()
    random_state = state.pop("shared/rng")
    with pytest.raises(kfgn.CheckpointError, match=r"missing \['shared/rng'\]"):
        other.load_state(state)
    other.load_state(dict(state))
    assert_identical(other.state(), {**state, "shared/rng": random_state})


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_states_of_all_generators_are_arrays(kind: str) -> None:
    first, other = (np.random.Generator(getattr(np.random, kind)(k)) for k in (1, 2))
    first.integers(10, size=3, dtype=np.int32)  # leaves half of a word
    words = packed(first)
    assert words.shape == packed(other).shape
    restored = unpacked(other, words)
    for _ in range(3):
        np.testing.assert_array_equal(restored.normal(size=700), first.normal(size=700))
        assert restored.integers(99, dtype=np.int32) == first.integers(99, dtype=np.int32)
