"""PyMC models: the loss is the negative log joint density."""
