"""Supervisor of one attempt: start the child, watch it, stop it, store its output, write the end."""
