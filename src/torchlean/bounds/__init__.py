"""Regions, properties, and bounds of a program's values over a region."""
