"""Metrics: pure functions of images, labels and features, with their protocol in the docstring."""
