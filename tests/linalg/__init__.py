"""Tests of the linear algebra, which has no notion of curvature."""
