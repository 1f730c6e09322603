"""Recovery: runs whose worker vanished, processes that it left behind, and the report of each failure."""
