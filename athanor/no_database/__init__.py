"""Database backend of a run's process, which has no database: every use raises an error."""
