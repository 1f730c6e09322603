"""Fork server: its client in the worker, the keeper and server processes, and the process trees below them.

Light to import: nothing here imports Django when it is loaded.
"""
