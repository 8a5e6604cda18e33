"""The block of a tied weight as a sum of two Kronecker products or as the nearest single one."""
