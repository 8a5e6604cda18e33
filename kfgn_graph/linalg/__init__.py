"""Linear algebra on PyTensor variables, with no notion of a network or of curvature."""
