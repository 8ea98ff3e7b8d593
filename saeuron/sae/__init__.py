"""Sparse autoencoders: the model, its files, and where it reads."""
