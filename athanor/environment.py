"""Names of all environment variables that Athanor reads. Any other name that starts with ATHANOR_ is a mistake."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping

from athanor.conf import WebSettings
from experiments.conf import ExperimentsSettings
from runs.conf import RunsSettings

PREFIX = "ATHANOR_"

PUBLIC: dict[str, str] = {
    "ATHANOR_VAR": "folder of data, logs and sockets (default: var/ beside manage.py)",
    "ATHANOR_DATABASE_URL": "postgresql://user:password@host:5432/name (default: SQLite in ATHANOR_VAR)",
    "ATHANOR_REDIS_URL": "redis://host:6379/0 (default: an embedded server in ATHANOR_VAR)",
    "ATHANOR_SECRET_KEY": "Django's secret key (default: generated once and stored in ATHANOR_VAR)",
    "ATHANOR_SECRETS_KEY": "Fernet keys that encrypt stored secrets, separated by commas; the first one encrypts",
    "ATHANOR_PRODUCTION": "1: https only, and stricter checks of the settings",
    "ATHANOR_DEBUG": "1: Django's debug pages; never on a public site",
    "ATHANOR_ALLOWED_HOSTS": "host names of the site, separated by commas",
    "ATHANOR_TRUSTED_ORIGINS": "origins that may post forms, https://host, separated by commas",
    "ATHANOR_TRUSTED_PROXIES": "addresses and networks of proxies whose X-Forwarded-For and -Proto are trusted",
    "ATHANOR_OIDC_ISSUER": "URL of an OpenID Connect provider, for single sign-on (default: none)",
    "ATHANOR_OIDC_CLIENT_ID": "client id of Athanor at the provider",
    "ATHANOR_OIDC_CLIENT_SECRET": "client secret of Athanor at the provider",
    "ATHANOR_OIDC_NAME": "name of the provider on the login page (default: single sign-on)",
    "ATHANOR_OIDC_GROUP": "group that new users join at their first sign-on (default: none, and no access)",
    "ATHANOR_TWO_FACTOR": "off, optional or required: one-time codes for local users (default: off)",
    "ATHANOR_TIME_ZONE": "time zone of the pages (default: UTC)",
    "ATHANOR_AUDIT_LOG": "file or syslog:[host:port] that also gets the audit log, as lines of JSON (default: none)",
    "ATHANOR_LOG_LEVEL": "DEBUG, INFO, WARNING or ERROR (default: INFO)",
    "ATHANOR_URL": "address of the site, for links in the output of commands (default: that of `up`)",
    "ATHANOR_APPS": "additional Django apps with `experiments` modules, separated by commas",
    "ATHANOR_EXPERIMENT_PATHS": "folders with experiments, separated like PATH",
}

INTERNAL: dict[str, str] = {
    "ATHANOR_ROLE": "set to `child` in the process of an experiment",
    "ATHANOR_ATTEMPT": "marks the processes of a run's attempt",
    "ATHANOR_UMASK": "umask of the processes of experiments; set by the first process of Athanor",
    "ATHANOR_READY_FILE": "file that a Celery process creates when it is ready; set by `up`",
    "ATHANOR_REQUIRE_SERVICES": "tests: a service that cannot be started fails instead of skipping",
}

SETTINGS_PREFIXES: dict[str, type] = {
    "ATHANOR_RUNS": RunsSettings,
    "ATHANOR_EXPERIMENTS": ExperimentsSettings,
    "ATHANOR_WEB": WebSettings,
}
"""Prefix → dataclass: each field may be set as PREFIX_FIELD."""


def valid_names() -> set[str]:
    """Return all names that are read."""
    fields = {
        f"{prefix}_{field.name.upper()}"
        for prefix, cls in SETTINGS_PREFIXES.items()
        for field in dataclasses.fields(cls)
    }
    return fields | PUBLIC.keys() | INTERNAL.keys()


def unknown_names(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return unused variables with Athanor's prefix → the nearest valid name, or None."""
    valid = valid_names()
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in valid)
    return {name: _nearest(name, valid) for name in unknown}


def _nearest(name: str, valid: set[str]) -> str | None:
    """Return the nearest valid name, compared without the common prefix; None if none is similar."""
    endings = {other.removeprefix(PREFIX): other for other in valid}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), endings, n=1)
    return endings[near[0]] if near else None
