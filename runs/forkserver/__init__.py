"""The fork server: its client in the worker, the server process, and the process trees below it.

Light to import: the keeper and the server load no Django of their own accord.
"""
