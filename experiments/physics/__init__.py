"""Networks that solve partial differential equations: the kernel form beside Adam and L-BFGS."""
