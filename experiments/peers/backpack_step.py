"""BackPACK's KFRA and KFAC in the benchmark: ``backpack_step.py TASK ANSWER``.

Runs in PyTorch's environment; imports nothing of this project but its neighbours. BackPACK gives
factors and no update: damping, factorisation and solve are written here. It treats weight and bias
as separate blocks. Of its losses, the mean squared error stands for what it has not.
"""

import warnings
from itertools import count

import alternation
import backpack
import torch
import torch_nets
from backpack.extensions import KFAC, KFRA

EXTENSIONS = {"kfra": KFRA, "kfac": KFAC}
ROOT = 0.1
"""What is added to both factors' diagonals."""
RATE = 1e-3


def make_step(task):
    """Return the update: a gradient, factors where they are due, and a solve a layer."""
    settings = task.settings
    network = backpack.extend(torch_nets.build(task))
    softmax = settings["loss"] == "softmax"
    loss = backpack.extend(torch.nn.CrossEntropyLoss() if softmax else torch.nn.MSELoss())
    layers, kept, updates = torch_nets.linears(network), {}, count()
    warnings.filterwarnings("ignore", category=UserWarning)  # the input needs no gradient

    def step(x, y):
        due = next(updates) % settings["refresh_every"] == 0
        extensions = [EXTENSIONS[settings["method"]]()] if due else []
        network.zero_grad(set_to_none=True)
        with backpack.backpack(*extensions):
            value = loss(network(torch.from_numpy(x)), torch.from_numpy(y))
            value.backward()
        with torch.no_grad():
            if due:
                kept.update({layer: factorised(layer, settings["method"]) for layer in layers})
            for layer in layers:
                move(layer, *kept[layer])
        return value.item()

    return step


def factorised(layer, method):
    """Return the Cholesky factors of a layer's damped G and Q, and forget the factors."""
    factors = getattr(layer.weight, method)
    delattr(layer.weight, method)
    delattr(layer.bias, method)
    for factor in factors:
        factor.diagonal().add_(ROOT)
    return [torch.linalg.cholesky(factor) for factor in factors]


def move(layer, of_outputs, of_inputs):
    """Take a step along a layer's preconditioned gradient."""
    half = torch.cholesky_solve(layer.weight.grad, of_outputs)
    weight = torch.cholesky_solve(half.T, of_inputs).T
    bias = torch.cholesky_solve(layer.bias.grad[:, None], of_outputs)[:, 0]
    layer.weight.sub_(weight, alpha=RATE)
    layer.bias.sub_(bias, alpha=RATE)


if __name__ == "__main__":
    packages = ("torch", "backpack-for-pytorch", "numpy")
    alternation.serve(make_step, torch_nets.make_product, packages)
