"""optax's Adam in the benchmark: ``optax_step.py TASK ANSWER``, see ``alternation.py``.

Runs in kfac-jax's environment; imports nothing of this project but its neighbours.
"""

import alternation
import jax
import jax_nets
import optax

RATE = 1e-3


def make_step(task):
    """Return Adam's update, jitted, its old parameters and moments given up to the new."""
    settings = task.settings
    optimiser = optax.adam(RATE)

    def loss(parameters, x, y):
        h = jax_nets.logits(parameters, x, settings["activation"])
        return jax_nets.mean_loss(settings["loss"], h, y)

    def update(parameters, state, x, y):
        value, gradient = jax.value_and_grad(loss)(parameters, x, y)
        changes, state = optimiser.update(gradient, state, parameters)
        return optax.apply_updates(parameters, changes), state, value

    jitted = jax.jit(update, donate_argnums=(0, 1))
    parameters = jax.tree_util.tree_map(jax.numpy.array, task.layers)
    kept = [parameters, optimiser.init(parameters)]

    def step(x, y):
        *kept[:], value = jitted(*kept, x, y)
        return float(value)

    return step


if __name__ == "__main__":
    alternation.serve(make_step, jax_nets.make_product, ("jax", "optax", "numpy"))
