"""The paper's Figure 1: surfaces of the loss of a two-layer ReLU network."""
