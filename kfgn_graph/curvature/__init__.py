"""Propagate: the curvature of a loss at every layer, and exact products with it."""
