"""Inputs at random: only errors of the package's own may come out."""
