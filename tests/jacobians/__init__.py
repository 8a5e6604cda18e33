"""Tests of the local Jacobians against dense autodiff."""
