"""Which of the worker's variables an experiment gets."""

from __future__ import annotations

import pytest

from runs.forkserver.environment import for_children, is_secret


@pytest.mark.parametrize(
    "name",
    ["ATHANOR_SECRET_KEY", "ATHANOR_DATABASE_URL", "ATHANOR_REDIS_URL", "ATHANOR_API_TOKEN", "CELERY_BROKER_URL"],
)
def test_our_credentials_are_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "DATABASE_URL", "PATH", "ATHANOR_VAR", "ATHANOR_EXPERIMENT_PATHS", "ATHANOR_RUNS_LEASE_S"],
)
def test_those_of_authors_and_what_is_no_credential_are_not(name: str) -> None:
    assert not is_secret(name)


def test_the_environment_is_the_workers_without_secrets_and_marks() -> None:
    environ = {"PATH": "/bin", "ATHANOR_SECRET_KEY": "x", "ATHANOR_ATTEMPT": "1.1", "ATHANOR_ROLE": "worker"}

    assert for_children(environ) == {"PATH": "/bin", "ATHANOR_ROLE": "child"}
