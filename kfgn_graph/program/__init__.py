"""The ``kfgn`` program: specs, data, networks, training, checkpoints and reports."""
