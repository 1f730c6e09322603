"""Logging of every process of ours: to stderr, each line with its time. Who keeps the lines is the caller's matter."""

from __future__ import annotations

from typing import Any

SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "django")


def configuration(level: str) -> dict[str, Any]:
    """For Django's LOGGING. The servers' own loggers lose their handlers, so that there is one form of line."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"timed": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "timed"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"handlers": [], "propagate": True} for name in SERVER_LOGGERS}
        | {
            # A beat and a task twice a second would fill the logs with "sent" and "succeeded".
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }
