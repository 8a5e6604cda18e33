"""The command-line program ``kfgn``."""
