"""The database of a run's process: there is none, and every use of it says so."""
