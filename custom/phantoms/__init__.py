"""Synthetic data sets of four kinds of images, for tests and the quickstart."""
