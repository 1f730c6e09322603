"""How experiments run: states, supervision, the lossless way of a line, the public verbs (`runs.services`)."""

__version__ = "0.1.0"
"""Version of Athanor, as in pyproject.toml."""
