"""Alignment of the Kronecker-factored updates with the exact Gauss-Newton update."""
