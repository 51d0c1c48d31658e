"""Comparisons of two runs or two models."""
