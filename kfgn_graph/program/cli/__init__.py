"""The command line ``kfgn``."""
