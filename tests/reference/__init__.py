"""Brute-force references: what the package computes, from the definitions, never importing it.

``dense`` differentiates JAX functions in float64; ``recursions`` writes the paper's equations as
NumPy loops over examples; ``kronecker`` forms Kronecker products and inverts them; ``training``
transcribes the update.
"""
