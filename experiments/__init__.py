"""Experiments with kfgn_graph: demo, the paper's autoencoder, a study of the defaults, benchmarks.

Everything here uses only the public names of :mod:`kfgn_graph`.
"""
