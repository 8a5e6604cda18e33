"""kfac-jax's run of the autoencoder: ``kfac_jax_side.py TASK ANSWER``, an npz and a JSON file.

Runs in kfac-jax's own environment; imports nothing of this project. The task holds the initial
weights and biases (W0, b0, W1, ...), the training set ``x`` and, as JSON, ``settings``.
"""

import itertools
import json
import sys
import time

import jax
import jax.numpy as jnp
import kfac_jax
import numpy as np

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}
WARM_UP = 7
"""Updates before the run, from a state that is thrown away: they meet every part that compiles."""
LINES = 10
REPORTED = {"damping": "damping", "learning_rate": "step_scale", "momentum": "momentum"}


def main(task_path, answer_path):
    """Train, and write losses, seconds and evaluations."""
    with np.load(task_path) as arrays:
        settings = json.loads(str(arrays["settings"]))
        layers = range(settings["layers"])
        initial = [(jnp.asarray(arrays[f"W{i}"]), jnp.asarray(arrays[f"b{i}"])) for i in layers]
        x = arrays["x"]
    loss = make_loss(ACTIVATIONS[settings["activation"]])
    optimiser = make_optimiser(loss, settings)
    compile_seconds = warm_up(optimiser, initial, x, settings)
    answer = run(optimiser, loss, initial, x, settings)
    answer.update(compile_seconds=compile_seconds, versions=versions())
    with open(answer_path, "w", encoding="utf-8") as stream:
        json.dump(answer, stream)


def versions():
    """Versions of what computes."""
    from importlib import metadata

    return {name: metadata.version(name) for name in ("jax", "kfac-jax", "numpy")}


def make_loss(activation):
    """Return the loss of parameters and a batch: cross-entropy over pixels, mean over images."""

    def loss(parameters, x):
        hidden = x
        for weight, bias in parameters[:-1]:
            hidden = activation(hidden @ weight + bias)
        weight, bias = parameters[-1]
        logits = hidden @ weight + bias
        kfac_jax.register_multi_bernoulli_predictive_distribution(logits, x)
        return jnp.mean(jnp.sum(jax.nn.softplus(logits) - x * logits, axis=1))

    return loss


def make_optimiser(loss, settings):
    """Return the optimiser of kfac-jax's autoencoder example, everything adapting."""
    return kfac_jax.Optimizer(
        jax.value_and_grad(loss),
        l2_reg=0.0,
        use_adaptive_learning_rate=True,
        use_adaptive_momentum=True,
        use_adaptive_damping=True,
        initial_damping=settings["initial_damping"],
        min_damping=1e-5,
        max_damping=1000.0,
        damping_adaptation_interval=5,
        damping_adaptation_decay=0.95,
        curvature_ema=0.95,
        inverse_update_period=settings["refresh_every"],
        num_burnin_steps=5,
        multi_device=False,
    )


def shuffled_batches(x, batch, seed):
    """Yield batches for ever, each epoch in a new order: the order of the other methods."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - batch + 1, batch):
            yield np.ascontiguousarray(x[order[start : start + batch]])


def make_batches(x, settings):
    """Yield the 5 batches of the burn-in, then all batches from the first one on."""
    batch, seed = settings["batch"], settings["seed"]
    burn_in = itertools.islice(shuffled_batches(x, batch, seed), 5)
    return itertools.chain(burn_in, shuffled_batches(x, batch, seed))


def begin(optimiser, initial, x, settings):
    """Return the parameters, the optimiser's fresh state, its random key and its batches."""
    parameters = jax.tree_util.tree_map(jnp.array, initial)
    key = jax.random.PRNGKey(settings["seed"])
    state = optimiser.init(parameters, key, jnp.asarray(x[: settings["batch"]]))
    return parameters, state, key, make_batches(x, settings)


def warm_up(optimiser, initial, x, settings):
    """Compile every part that the optimiser keeps compiled; return the seconds it took."""
    start = time.perf_counter()
    parameters, state, key, batches = begin(optimiser, initial, x, settings)
    for _ in range(WARM_UP):
        parameters, state, _ = update(optimiser, parameters, state, key, batches)
    return time.perf_counter() - start


def update(optimiser, parameters, state, key, batches):
    """Do one update; the key follows from the count of updates."""
    key = jax.random.fold_in(key, int(state.step_counter))
    return optimiser.step(parameters, state, key, data_iterator=batches)


def run(optimiser, loss, initial, x, settings):
    """Train and evaluate; only the updates are timed, from the end of the first one."""
    evaluate = make_evaluation(loss, x, settings["batch"])
    at, total = set(settings["at"]), settings["updates"]
    parameters, state, key, batches = begin(optimiser, initial, x, settings)
    losses, seconds, elapsed = [], [], 0.0
    evaluations = [evaluation(0, 0.0, evaluate(parameters), {})]
    for count in range(1, total + 1):
        start = time.perf_counter()
        parameters, state, stats = update(optimiser, parameters, state, key, batches)
        losses.append(float(stats["loss"]))
        if count > 1:
            elapsed += time.perf_counter() - start
        seconds.append(elapsed)
        if count in at or count == total:
            evaluations.append(evaluation(count, elapsed, evaluate(parameters), stats))
        if count % max(1, total // LINES) == 0:
            print(f"{count / total:.0%}  update {count}  batch loss {losses[-1]:.2f}", flush=True)
    return {"losses": losses, "seconds": seconds, "evaluations": evaluations}


def evaluation(count, elapsed, loss, stats):
    """Return one evaluation as a record."""
    reported = {ours: float(stats[name]) for name, ours in REPORTED.items() if name in stats}
    return {"updates": count, "seconds": elapsed, "loss": loss, "statistics": reported}


def make_evaluation(loss, x, batch):
    """Return the mean loss over the whole training set as a function of the parameters."""
    compiled = jax.jit(loss)
    parts = [x[start : start + batch] for start in range(0, len(x), batch)]

    def evaluate(parameters):
        total = sum(float(compiled(parameters, part)) * len(part) for part in parts)
        return total / len(x)

    return evaluate


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
