"""Variables of the worker that an experiment gets."""

from __future__ import annotations

import pytest

from runs.forkserver.environment import for_children, is_secret, leave_to_programs, settings_module


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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"PYTHONPATH": "/imports"}),
        ({"PYTHONPATH": "/athanor"}, {"PYTHONPATH": "/imports"}),
        ({"PYTHONPATH": "/mine:/athanor:/imports:"}, {"PYTHONPATH": "/mine:/imports"}),
        ({"DJANGO_SETTINGS_MODULE": "x"}, {"PYTHONPATH": "/imports", "ATHANOR_SETTINGS_MODULE": "x"}),
    ],
)
def test_programs_get_only_what_they_need(before: dict[str, str], after: dict[str, str]) -> None:
    environ = dict(before)
    leave_to_programs(environ, project="/athanor", imports="/imports")

    assert environ == after


@pytest.mark.parametrize("own", [{}, {"DJANGO_SETTINGS_MODULE": "mine"}])
def test_the_settings_module_is_there_for_a_moment(own: dict[str, str]) -> None:
    environ = {"ATHANOR_SETTINGS_MODULE": "athanors", **own}
    with settings_module(environ):
        assert environ["DJANGO_SETTINGS_MODULE"] == "athanors"

    assert environ == {"ATHANOR_SETTINGS_MODULE": "athanors", **own}
