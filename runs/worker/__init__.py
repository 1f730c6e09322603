"""One Celery worker process of runs: what it has once, however many runs it supervises."""
