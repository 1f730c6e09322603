"""Recovery of lost runs, orphan processes, and failure reports."""
