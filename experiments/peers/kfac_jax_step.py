"""kfac-jax in the benchmark: ``kfac_jax_step.py TASK ANSWER``, see ``alternation.py``.

Runs in kfac-jax's own environment; imports nothing of this project but its neighbours. Learning
rate, momentum and damping adapt, as in kfac-jax's example of an autoencoder.
"""

from itertools import cycle

import alternation
import jax
import jax_nets
import kfac_jax

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


def make_optimiser(settings):
    """Return the optimiser, everything adapting."""
    return kfac_jax.Optimizer(
        jax.value_and_grad(make_loss(settings)),
        l2_reg=0.0,
        use_adaptive_learning_rate=True,
        use_adaptive_momentum=True,
        use_adaptive_damping=True,
        initial_damping=settings["initial_damping"],
        min_damping=1e-5,
        max_damping=1000.0,
        damping_adaptation_interval=settings["adapt_every"],
        damping_adaptation_decay=0.95,
        curvature_ema=0.95,
        inverse_update_period=settings["refresh_every"],
        num_burnin_steps=5,
        multi_device=False,
    )


def make_step(task):
    """Return the update; the first one burns in."""
    optimiser = make_optimiser(task.settings)
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
