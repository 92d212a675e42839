"""Metrics and the evaluation of a bundle on held-out phantoms."""
