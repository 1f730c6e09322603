"""Template tags shared by experiments and runs."""
