"""Lines and results: format, buffer in Redis, flush to the database, and reading."""
