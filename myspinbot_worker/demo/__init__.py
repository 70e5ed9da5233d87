"""The whole farm on one laptop: real servers, real streams, real workers, preview engines.

For looking, trying and testing; a production farm is ``compose.yaml``.
"""
