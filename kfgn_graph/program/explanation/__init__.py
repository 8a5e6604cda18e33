"""What a spec's update does and costs, and what this machine offers for it."""
