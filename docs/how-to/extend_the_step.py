"""Add a damping rule, a step rule, and a method with a preconditioner of its own."""

from dataclasses import dataclass

import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn
from kfgn_graph.extend import (
    Damping,
    Method,
    Preconditioner,
    StepRule,
    register_preconditioner,
    zero_vector,
)


# --- damping: Nielsen's rule, smooth in the reduction ratio
@dataclass(frozen=True, kw_only=True)
class Nielsen(Damping):
    initial: float = 1.0

    adaptive = True

    def first(self, output_curvature):
        return pt.constant(np.asarray(self.initial, output_curvature.dtype))

    def adapted(self, damping, ratio):
        factor = pt.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3)
        return damping * pt.switch(pt.gt(ratio, 0), factor, 2.0)

    def after_failure(self, damping):
        return 2.0 * damping


# --- step: a fixed share of the way to the minimum of the quadratic model
@dataclass(frozen=True)
class Share(StepRule):
    share: float = 0.5

    def lengths(self, model):
        return [self.share * length for length in model.minimiser()]


# --- method: squared gradients, averaged, in the place of the curvature
@dataclass(frozen=True)
class SquaredGradients(Method):
    decay: float = 0.9

    def blocks(self, graph, head, draws):
        raise kfgn.SpecError("SquaredGradients() has no blocks: it is a diagonal")


@register_preconditioner(SquaredGradients)
class SquaredGradientsPreconditioner(Preconditioner):
    def __init__(self, context):
        super().__init__(context)
        squares = context.state.vector("squares")
        self.squares = dict(zip(context.graph.parameters, squares, strict=True))
        self.mean_curvature = self.greatest_block = pt.constant(0.0)

    @classmethod
    def initial_state(cls, graph, settings):
        return zero_vector("squares", graph)

    def direction(self, gradient, shifts, gamma):
        decay = self.context.settings.method.decay
        new = {p: decay * self.squares[p] + (1 - decay) * g**2 for p, g in gradient.items()}
        self.kept = {self.squares[p]: v for p, v in new.items()}
        return {p: -g / (pt.sqrt(new[p]) + shifts[p]) for p, g in gradient.items()}


# --- check: each trains
def train(**settings):
    rng = np.random.default_rng(0)
    x, y = pt.matrix("x", shape=(None, 3)), pt.matrix("y", shape=(None, 2))
    params = [
        pytensor.shared(rng.normal(size=shape), name=f"W{i}", shape=shape)
        for i, shape in enumerate([(3, 8), (8, 2)])
    ]
    loss = 0.5 * pt.sqr(pt.tanh(x @ params[0]) @ params[1] - y).sum(axis=1).mean()
    update = kfgn.compile_update(loss, params, [x, y], **settings)
    inputs = rng.normal(size=(50, 3))
    targets = np.sin(inputs @ rng.normal(size=(3, 2)))
    losses, dampings = zip(
        *((stats.loss, stats.damping) for stats in (update(inputs, targets) for _ in range(30))),
        strict=True,
    )
    return np.array(losses), np.array(dampings), update


def show(name, losses):
    print(f"{name:18} loss {losses[0]:.3f} -> {losses[-1]:.3f}")


losses, dampings, _ = train(damping=Nielsen())
show("Nielsen's damping", losses)
assert losses[-1] < 0.1 * losses[0]
assert dampings[-1] < dampings[0]

losses, _, _ = train(step=Share(0.5))
show("half of the step", losses)
assert losses[-1] < 0.2 * losses[0]

losses, _, update = train(method=SquaredGradients())
show("squared gradients", losses)
assert losses[-1] < 0.5 * losses[0]
assert "squares/W0" in update.state()
