"""The program around the compiler: specs, data, networks, training, checkpoints, reports."""
