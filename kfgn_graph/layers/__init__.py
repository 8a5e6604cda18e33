"""Recognition of layers: find them in a loss graph and verify that they cover every parameter."""

# Imported to register the example-axis rules.
import kfgn_graph.layers.example_rules
import kfgn_graph.layers.example_rules_indexing  # noqa: F401
