"""Servers that Athanor starts itself, on one machine."""
