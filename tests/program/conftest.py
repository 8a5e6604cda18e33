"""Hypothesis, without a data base of failures and without time limits: machines may be busy."""

from hypothesis import settings

settings.register_profile("kfgn", database=None, deadline=None, max_examples=60)
settings.load_profile("kfgn")
