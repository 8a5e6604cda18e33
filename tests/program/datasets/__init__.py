"""Tests of the data sets' loaders."""
