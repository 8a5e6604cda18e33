"""Tests of the strategies that invert damped factors."""
