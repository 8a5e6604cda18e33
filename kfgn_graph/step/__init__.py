"""Step: one update of the parameters, symbolically, with everything that adapts."""
