"""Curvature: the block of every layer, and exact products with the Gauss-Newton matrix."""
