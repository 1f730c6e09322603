"""Logging configuration of all processes: to stderr, each line with its time. Their parent stores the output."""

from __future__ import annotations

import os
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "django")


SYSLOG = "syslog:"
SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog")


def configuration(level: str, *, audit: str = "") -> dict[str, Any]:
    """Return the value of Django's LOGGING. Servers lose their own handlers, so that all lines have one format.

    `audit` is the target of the audit log: a file, or `syslog:` with an optional host and port.
    """
    audit_handlers = {"audit": _audit_handler(audit)} if audit else {}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"timed": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "timed"}} | audit_handlers,
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"handlers": [], "propagate": True} for name in SERVER_LOGGERS}
        | {
            "axes": {"level": "ERROR"},  # athanor.login.failures logs what operators need
            # Beat and periodic tasks would log "sent" and "succeeded" twice a second.
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "athanor.audit": {"handlers": [*audit_handlers], "level": "INFO", "propagate": False},
        },
    }


def _audit_handler(target: str) -> dict[str, Any]:
    """Return the handler of the audit log. Raises ImproperlyConfigured."""
    if not target.startswith(SYSLOG):
        if not Path(target).is_absolute() or not Path(target).parent.is_dir():
            raise ImproperlyConfigured(
                f"ATHANOR_AUDIT_LOG={target}: use the absolute path of a file in a folder that exists,"
                " syslog: or syslog:host:port."
            )
        return {"class": "athanor.logs.PrivateFile", "filename": target, "delay": True, "encoding": "utf-8"}
    host, _, port = target.removeprefix(SYSLOG).rpartition(":")
    if target != SYSLOG and not (host and port.isdecimal()):
        raise ImproperlyConfigured(
            f"ATHANOR_AUDIT_LOG={target}: name a host and a port, as syslog:logs.example.org:514."
        )
    local = next((path for path in SYSLOG_SOCKETS if Path(path).exists()), SYSLOG_SOCKETS[0])
    address = local if target == SYSLOG else (host, int(port))
    return {"class": "logging.handlers.SysLogHandler", "address": address, "facility": "authpriv"}


class PrivateFile(WatchedFileHandler):
    """File that only its owner can read. Opened again after a rotation."""

    def _open(self) -> Any:
        return open(  # the handler closes it
            self.baseFilename, "a", encoding=self.encoding, opener=lambda path, flags: os.open(path, flags, 0o600)
        )
