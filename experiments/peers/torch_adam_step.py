"""PyTorch's Adam, eager, in the benchmark: ``torch_adam_step.py TASK ANSWER``.

Runs in PyTorch's environment; imports nothing of this project but its neighbours.
"""

import alternation
import torch
import torch_nets

RATE = 1e-3
LOSSES = {
    "bernoulli": torch.nn.BCEWithLogitsLoss,
    "squared": torch.nn.MSELoss,
    "softmax": torch.nn.CrossEntropyLoss,
}


def make_step(task):
    """Return Adam's update."""
    network = torch_nets.build(task)
    loss = LOSSES[task.settings["loss"]]()
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)

    def step(x, y):
        optimiser.zero_grad(set_to_none=True)
        value = loss(network(torch.from_numpy(x)), torch.from_numpy(y))
        value.backward()
        optimiser.step()
        return value.item()

    return step


if __name__ == "__main__":
    alternation.serve(make_step, torch_nets.make_product, ("torch", "numpy"))
