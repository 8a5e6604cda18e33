"""Explanation of a spec's update: its mathematics, its costs, and checks of this machine."""
