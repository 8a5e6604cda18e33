"""curvlinops' KFAC and its inverse in the benchmark: ``curvlinops_step.py TASK ANSWER``.

Runs in PyTorch's environment; imports nothing of this project but its neighbours.
"""

from itertools import count

import alternation
import torch
import torch_nets
from curvlinops import KFACInverseLinearOperator, KFACLinearOperator
from torch_adam_step import LOSSES

DAMPING = 1e-2
RATE = 1e-3


def make_step(task):
    """Return the update: a gradient, and the inverse of KFAC, anew where it is due."""
    settings = task.settings
    network, loss = torch_nets.build(task), LOSSES[settings["loss"]]()
    parameters, kept, updates = list(network.parameters()), [], count()

    def step(x, y):
        batch = torch.from_numpy(x), torch.from_numpy(y)
        value = loss(network(batch[0]), batch[1])
        gradient = torch.autograd.grad(value, parameters)
        if next(updates) % settings["refresh_every"] == 0:
            kept[:] = [inverse(network, loss, parameters, batch)]
        directions = kept[0] @ list(gradient)  # differentiates, where factors are due
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.sub_(direction, alpha=RATE)
        return value.item()

    return step


def inverse(network, loss, parameters, batch):
    """Return the inverse of KFAC on a batch, one sampled target an example."""
    operator = KFACLinearOperator(
        network,
        loss,
        parameters,
        [batch],
        check_deterministic=False,
        separate_weight_and_bias=False,
        num_per_example_loss_terms=1,
        num_data=len(batch[0]),
    )
    return KFACInverseLinearOperator(operator, damping=DAMPING, use_heuristic_damping=True)


if __name__ == "__main__":
    packages = ("torch", "curvlinops-for-pytorch", "numpy")
    alternation.serve(make_step, torch_nets.make_product, packages)
