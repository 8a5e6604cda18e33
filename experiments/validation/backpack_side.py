"""BackPACK's factors of given networks: ``backpack_side.py CASES ANSWER``, both npz.

Runs in BackPACK's own environment; imports nothing of this project.
"""

import json
import sys
import warnings

import backpack
import numpy as np
import torch
from backpack.extensions import KFLR, KFRA

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid}
LOSSES = {"squared": torch.nn.MSELoss, "softmax": torch.nn.CrossEntropyLoss}


def main(cases_path, answer_path):
    """Compute the KFRA and KFLR factors of every case."""
    torch.set_default_dtype(torch.float64)
    with np.load(cases_path) as arrays:
        answer = {"versions": np.array(json.dumps(versions()))}
        for case in json.loads(str(arrays["listing"])):
            answer.update(factors(case, arrays))
    np.savez(answer_path, **answer)


def versions():
    """Versions of what computes."""
    from importlib import metadata

    names = ("torch", "backpack-for-pytorch")
    return {name: metadata.version(name) for name in names}


def factors(case, arrays):
    """Return one case's factors, named CASE/METHOD/LAYER/PART."""
    name = case["name"]
    linears = [
        linear(arrays[f"{name}/W{i}"], arrays[f"{name}/b{i}"]) for i in range(case["layers"])
    ]
    modules = [linears[0]]
    for layer in linears[1:]:
        modules += [ACTIVATIONS[case["activation"]](), layer]
    network = backpack.extend(torch.nn.Sequential(*modules))
    loss = backpack.extend(LOSSES[case["loss"]]())
    x, y = torch.from_numpy(arrays[f"{name}/x"]), torch.from_numpy(arrays[f"{name}/y"])
    with warnings.catch_warnings(), backpack.backpack(KFRA(), KFLR()):
        warnings.simplefilter("ignore")  # the input needs no gradient; PyTorch remarks on it
        loss(network(x), y).backward()
    found = {}
    for index, layer in enumerate(linears):
        for method in ("kfra", "kflr"):
            weight_g, weight_q = getattr(layer.weight, method)
            (bias_g,) = getattr(layer.bias, method)
            stem = f"{name}/{method}/{index}"
            parts = {"weight_G": weight_g, "weight_Q": weight_q, "bias_G": bias_g}
            found.update({f"{stem}/{part}": value.numpy() for part, value in parts.items()})
    return found


def linear(weight, bias):
    """Return a linear layer with given weight, (d_in, d_out), and bias."""
    layer = torch.nn.Linear(*weight.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T.copy()))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
