"""kfac-jax in the benchmark: ``kfac_jax_step.py TASK ANSWER``, see ``alternation.py``.

Runs in kfac-jax's own environment; imports nothing of this project but its neighbours. The
optimiser is that of the run of the autoencoder: learning rate, momentum and damping adapt.
"""

from itertools import cycle

import alternation
import jax
import jax_nets
import kfac_jax
from kfac_jax_side import make_optimiser

SEED = 0


def make_loss(settings):
    """Return the loss of parameters and a batch, its distribution made known to kfac-jax."""
    name = settings["loss"]

    def loss(parameters, batch):
        x, y = batch
        h = jax_nets.logits(parameters, x, settings["activation"])
        if name == "bernoulli":
            kfac_jax.register_multi_bernoulli_predictive_distribution(h, y)
        elif name == "squared":
            kfac_jax.register_squared_error_loss(h, y, weight=0.5)
        else:
            kfac_jax.register_categorical_predictive_distribution(h, y)
        return jax_nets.mean_loss(name, h, y)

    return loss


def make_step(task):
    """Return the update; the first one burns in."""
    optimiser = make_optimiser(make_loss(task.settings), task.settings)
    key = jax.random.PRNGKey(SEED)
    parameters = jax.tree_util.tree_map(jax.numpy.array, task.layers)
    kept = [parameters, optimiser.init(parameters, key, task.batches[0])]

    def step(x, y):
        drawn = jax.random.fold_in(key, int(kept[1].step_counter))
        *kept[:], statistics = optimiser.step(*kept, drawn, data_iterator=cycle([(x, y)]))
        return float(statistics["loss"])

    return step


if __name__ == "__main__":
    alternation.serve(make_step, jax_nets.make_product, ("jax", "kfac-jax", "numpy"))
