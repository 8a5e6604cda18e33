"""Graph rewrites for PyTensor functions of any kind, none of which knows of curvature."""
