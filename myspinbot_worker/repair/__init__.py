"""What an operator does when something went wrong: look at dead letters, retry, drop, audit, explain.

Nothing here runs by itself. Decisions are pure functions; each act on Redis is one script in ``lua/``.
"""
