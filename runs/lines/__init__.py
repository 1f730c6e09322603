"""Lines and results: their format, the buffer in Redis, the flush to the database, and reading them back."""
