"""Appendix C.4: time and memory of KFRA, KFAC and KFLR, predicted and measured."""
