"""Reading a loss graph: its affine layers, its penalty, its examples."""
