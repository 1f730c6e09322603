"""The supervisor of one attempt: start the child, watch it, stop it, store what it says, write its end."""
