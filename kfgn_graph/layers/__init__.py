"""Recognise: find the layers of a loss graph, and prove that they explain every parameter."""

# The rules, imported for their registrations.
import kfgn_graph.layers.example_rules
import kfgn_graph.layers.example_rules_indexing  # noqa: F401
