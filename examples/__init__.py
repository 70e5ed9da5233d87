"""Capabilities to learn from; each runs in the tests."""
