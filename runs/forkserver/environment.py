"""The environment of experiments: the worker's, without Athanor's own credentials. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from runs.forkserver.marks import ATTEMPT_MARK, SERVER_MARK

if TYPE_CHECKING:
    from runs.states import AttemptKey  # which loads Django: too much for the keeper

_SECRET_WORDS = frozenset({"URL", "URI", "DSN", "SECRET", "PASSWORD", "TOKEN", "KEY", "CREDENTIALS"})
_SECRETS = frozenset(
    {
        "CELERY_BROKER_URL",
        "CELERY_BROKER_READ_URL",
        "CELERY_BROKER_WRITE_URL",
        "CELERY_RESULT_BACKEND",
        "DJANGO_SUPERUSER_PASSWORD",
    }
)


def is_secret(name: str) -> bool:
    """Whether a variable is a credential of Athanor's. Those of an experiment (OPENAI_API_KEY, ...) are not."""
    return name in _SECRETS or (name.startswith("ATHANOR_") and not _SECRET_WORDS.isdisjoint(name.split("_")))


def for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the worker's environment an experiment gets."""
    kept = {name: value for name, value in environ.items() if not is_secret(name)}
    kept.pop(SERVER_MARK, None)
    kept.pop(ATTEMPT_MARK, None)
    return {**kept, "ATHANOR_ROLE": "child"}


def marks(key: AttemptKey) -> dict[str, str]:
    """What is added for one attempt."""
    return {ATTEMPT_MARK: str(key)}
