"""The CPU preview engines at work on real media."""
