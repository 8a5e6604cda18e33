"""The benchmark's networks in PyTorch, for the scripts beside this file."""

import torch

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid}


def build(task):
    """Return the network with the task's weights."""
    modules = []
    for weight, bias in task.layers:
        modules += [ACTIVATIONS[task.settings["activation"]](), linear(weight, bias)]
    return torch.nn.Sequential(*modules[1:])


def linear(weight, bias):
    """Return a linear layer with given weight, (d_in, d_out), and bias."""
    layer = torch.nn.Linear(*weight.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T.copy()))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def linears(network):
    """Return the layers that have weights."""
    return [module for module in network if isinstance(module, torch.nn.Linear)]


def make_product(left, right):
    """Return the product of two matrices by PyTorch, into memory that stays."""
    operands = torch.from_numpy(left), torch.from_numpy(right)
    result = torch.empty_like(operands[0])
    return lambda: torch.matmul(*operands, out=result)
