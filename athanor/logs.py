"""Logging configuration of all processes: to stderr, each line with its time. Their parent stores the output."""

from __future__ import annotations

from typing import Any

SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "django")


def configuration(level: str) -> dict[str, Any]:
    """Return the value of Django's LOGGING. Servers lose their own handlers, so that all lines have one format."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"timed": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "timed"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"handlers": [], "propagate": True} for name in SERVER_LOGGERS}
        | {
            "axes": {"level": "ERROR"},  # athanor.login.failures says what people need to know
            # Beat and periodic tasks would log "sent" and "succeeded" twice a second.
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }
