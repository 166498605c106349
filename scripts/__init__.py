"""Measurements that are scripts, not tests."""
