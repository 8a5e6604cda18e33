"""Graph rewrites for any PyTensor function, each in a module of its own.

None is in use unless a mode includes its tag.
"""
