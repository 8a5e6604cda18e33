"""Allowed values of a spec's named options."""

from typing import Literal

Activation = Literal["tanh", "relu", "sigmoid", "linear"]
LossName = Literal["bernoulli", "squared", "softmax"]
MethodName = Literal["kfra", "kflr", "kfac", "hessianfree", "sgd", "momentum", "nesterov", "adam"]
DataName = Literal["mnist", "curves", "faces", "digits", "uci"]
BackendName = Literal["auto", "jax", "numba", "c"]
TableName = Literal[
    "concrete",
    "energy",
    "kin8nm",
    "naval-propulsion-plant",
    "power-plant",
    "protein-tertiary-structure",
    "wine-quality-red",
    "yacht",
]
InverseName = Literal["cholesky", "newton-schulz", "eigh", "exact", "ekfac"]
