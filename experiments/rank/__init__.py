"""The paper's Section 6 and Appendix D: the rank of the empirical Gauss-Newton matrix."""
