"""Tests of the curvature methods and of products with curvature matrices."""
