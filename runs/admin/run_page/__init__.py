"""Content of a run's page, one module for each part of it. Reads only."""
