"""Redis and PostgreSQL servers that Athanor starts itself."""
