"""Execution of experiments: states, supervision, lossless logs, and the public API (`runs.services`)."""

__version__ = "0.1.0"
"""Version of Athanor, as in pyproject.toml."""
