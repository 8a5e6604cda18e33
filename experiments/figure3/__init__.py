"""Figure 3: the mixture of two binary classifiers, Eq. (27)."""
