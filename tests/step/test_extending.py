"""Rules of a step that are added from outside, by the public extension points alone."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from typing import ClassVar, get_type_hints

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph import extend
from kfgn_graph.step.settings import SettingNames, Settings


@dataclass(frozen=True, kw_only=True)
class Doubling(extend.Damping):
    """Lambda is doubled at every third update, and ten times as great after a failure."""

    adaptive = True

    @property
    def period(self) -> int:
        return 3

    def first(self, output_curvature):
        return pt.constant(np.asarray(0.5, output_curvature.dtype))

    def adapted(self, damping, ratio):
        return 2 * damping

    def after_failure(self, damping):
        return 10 * damping


@dataclass(frozen=True)
class Share(extend.StepRule):
    """A share of the way to the minimum of the quadratic model."""

    share: float = 1.0

    def lengths(self, model):
        return [self.share * length for length in model.minimiser()]


@dataclass(frozen=True)
class Plain(extend.Inverse):
    """The identity divided by lambda + eta, whatever the factors are."""

    name: ClassVar[str] = "plain"

    def initial(self, q, g, dtype):
        return {"unused": np.zeros(1, dtype)}

    def refresh(self, factors, gamma, old):
        return dict(old)

    def apply(self, parts, V, damping):
        return V / damping.shift


@dataclass(frozen=True)
class Squares(extend.Method):
    """Averages of squared gradients."""

    decay: float = 0.9

    def blocks(self, graph, head, draws):
        raise kfgn.SpecError("no blocks")


@extend.register_preconditioner(Squares)
class SquaresPreconditioner(extend.Preconditioner):
    """Divides the gradient by the root of its averaged squares."""

    def __init__(self, context):
        super().__init__(context)
        squares = context.state.vector("squares")
        self.squares = dict(zip(context.graph.parameters, squares, strict=True))
        self.mean_curvature = self.greatest_block = pt.constant(0.0)

    @classmethod
    def initial_state(cls, graph, settings):
        return extend.zero_vector("squares", graph)

    def direction(self, gradient, shifts, gamma):
        decay = self.context.settings.method.decay
        new = {p: decay * self.squares[p] + (1 - decay) * g**2 for p, g in gradient.items()}
        self.kept = {self.squares[p]: v for p, v in new.items()}
        return {p: -g / (pt.sqrt(new[p]) + shifts[p]) for p, g in gradient.items()}


class Alone(extend.Method):
    """A method that nobody registered a preconditioner for."""

    def blocks(self, graph, head, draws):
        return {}


def linear_net(rng: np.random.Generator, **settings: object):
    """Return a linear regression, its weight, and an update of it."""
    x, y = pt.matrix("x", shape=(None, 3)), pt.matrix("y", shape=(None, 2))
    W = pytensor.shared(rng.normal(size=(3, 2)), name="W", shape=(3, 2))
    loss = 0.5 * pt.sqr(x @ W - y).sum(axis=1).mean()
    return W, kfgn.compile_update(loss, [W], [x, y], backend="jax", **settings)


def gradient_of(W: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x.T @ (x @ W - y) / len(x)


def test_an_adaptive_damping_from_outside_adapts_by_its_period_and_fails_by_its_rule(rng):
    _, update = linear_net(rng, damping=Doubling())
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    dampings = [update(x, y).damping for _ in range(7)]
    assert dampings == [0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 2.0]
    assert update(np.full_like(x, np.nan), y).skipped
    assert update(x, y).damping == 20.0


def test_a_step_rule_from_outside_scales_the_minimiser(rng):
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    moves = {}
    for share in (1.0, 0.25):
        W, update = linear_net(
            np.random.default_rng(0), step=Share(share), damping=kfgn.ConstantDamping(0.1)
        )
        before = np.array(W.get_value())
        update(x, y)
        moves[share] = np.array(W.get_value()) - before
    np.testing.assert_allclose(moves[0.25], 0.25 * moves[1.0], rtol=1e-12)


def test_what_a_rule_from_outside_returns_is_checked(rng):
    class Short(Share):
        def lengths(self, model):
            return [1.0]

    class Vector(kfgn.ConstantDamping):
        def first(self, output_curvature):
            return pt.zeros(2)

    with pytest.raises(kfgn.SpecError, match=r"Short.lengths must return 1 scalar"):
        linear_net(rng, step=Short(1.0), damping=kfgn.ConstantDamping(0.1))
    with pytest.raises(kfgn.SpecError, match=r"Vector.first must return a scalar"):
        linear_net(rng, damping=Vector(0.1))
    with pytest.raises(kfgn.SpecError, match="types of Ops"):
        kfgn.register_local_jacobian("Dot")
    with pytest.raises(kfgn.SpecError, match="types of Ops"):
        kfgn.register_example_axes(3)
    with pytest.raises(kfgn.SpecError, match="function"):
        kfgn.register_loss_head(3)


def test_a_number_is_a_fixed_step(rng):
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    found = []
    for step in (0.3, kfgn.FixedStep(0.3)):
        W, update = linear_net(
            np.random.default_rng(0), step=step, damping=kfgn.ConstantDamping(0.1)
        )
        update(x, y)
        found.append(np.array(W.get_value()))
    np.testing.assert_array_equal(*found)
    with pytest.raises(kfgn.SpecError, match="step=nan must be zero, a positive number"):
        kfgn.Settings(step=np.nan)


def test_an_inverse_from_outside_is_applied(rng):
    W, update = linear_net(
        rng, inverse=Plain(), damping=kfgn.ConstantDamping(4.0), step=1.0, l2=1.0
    )
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    before = np.array(W.get_value())
    update(x, y)
    gradient = gradient_of(before, x, y) + before
    np.testing.assert_allclose(W.get_value(), before - gradient / 5.0, rtol=1e-12)


def test_a_preconditioner_from_outside_keeps_its_state(rng):
    W, update = linear_net(rng, method=Squares(), damping=kfgn.ConstantDamping(0.5), step=0.1)
    value, square = np.array(W.get_value()), np.zeros((3, 2))
    for _ in range(4):
        x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
        update(x, y)
        gradient = gradient_of(value, x, y)
        square = 0.9 * square + 0.1 * gradient**2
        value = value - 0.1 * gradient / (np.sqrt(square) + 0.5)
        np.testing.assert_allclose(W.get_value(), value, rtol=1e-10)
    np.testing.assert_allclose(update.state()["squares/W"], square, rtol=1e-10)


def test_a_method_without_a_preconditioner_is_refused_with_the_remedy(rng):
    with pytest.raises(kfgn.SpecError, match="register_preconditioner"):
        linear_net(rng, method=Alone())


def test_settings_are_stated_once():
    own = [field.name for field in fields(Settings)]
    kept = {name: get_type_hints(Settings)[name] for name in own}
    kept["damping"] = float | kept["damping"]  # a number is converted
    assert get_type_hints(SettingNames) == kept
    for function in (kfgn.compile_update, kfgn.kfgn_updates):
        shown = inspect.signature(function).parameters
        assert [name for name in shown if name in own] == own
        assert {name: shown[name].default for name in own} == {
            field.name: field.default for field in fields(Settings)
        }
        entries = re.findall(r"^(\w+) : ", inspect.getdoc(function), re.MULTILINE)
        assert [name for name in entries if name in own] == own


def test_an_unknown_setting_is_refused_by_name(rng):
    with pytest.raises(kfgn.SpecError, match=r"unknown settings \['learning_rate'\]"):
        linear_net(rng, learning_rate=0.1)
