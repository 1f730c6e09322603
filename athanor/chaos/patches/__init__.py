"""Patches that only processes of a throwaway stack load: its folder is on their PYTHONPATH (see `sitecustomize.py`).

The product's own code does not depend on them.
"""
