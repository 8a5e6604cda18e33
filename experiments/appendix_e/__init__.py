"""The paper's Section 2.2.3 and Appendix E: piecewise linear networks have no smooth maxima."""
