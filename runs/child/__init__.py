"""Process of one experiment. No database, no Redis, no Celery."""
