"""Datasets, loaders and explicit downloads."""
