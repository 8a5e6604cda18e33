"""Experiments with kfgn_graph: the demo, the paper's autoencoder, benchmarks and validation.

Everything here uses only the public names of :mod:`kfgn_graph`.
"""
