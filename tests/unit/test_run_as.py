"""Rules of run_as, the accounts that they may name, and files that a run of another user must not lead astray."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from experiments.conf import load
from runs.checks import accounts_can_be_used
from runs.conf import RunsSettings
from runs.exceptions import SpawnFailed
from runs.folders import open_inside
from runs.forkserver import account
from runs.forkserver.account import AccountUnusable
from runs.models import Run
from runs.run_as import account_name
from runs.supervisor.accounts import account_of
from runs.worker.steps import refuse_unusable_accounts

RULES = (
    '[{"queue": "gpu", "account": "gpu"}, {"experiment": ["train", "tune"], "launched_by": "ada", "account": "ada"},'
    ' {"launched_by": ["ada", "bob"], "account": "people"}]'
)


def rules(text: Any) -> Any:
    return load(RunsSettings, "ATHANOR_RUNS", {"run_as": text}, {}).run_as


@pytest.mark.parametrize(
    ("queue", "experiment", "by", "expected"),
    [
        ("gpu", "train", "ada", "gpu"),
        ("runs", "tune", "ada", "ada"),
        ("runs", "other", "ada", "people"),
        ("runs", "train", "bob", "people"),
        ("runs", "train", "", None),
        ("runs", "train", "eve", None),
    ],
)
def test_the_first_rule_that_matches_gives_the_account(
    queue: str, experiment: str, by: str, expected: str | None
) -> None:
    assert account_name(rules(RULES), queue=queue, experiment=experiment, launched_by=by) == expected


def test_rules_may_be_those_of_djangos_settings() -> None:
    assert rules([{"account": "lab", "queue": ["a", "b"]}]) == rules('[{"account": "lab", "queue": ["a", "b"]}]')
    assert rules("") == rules(()) == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("lab", "not valid JSON"),
        ('{"account": "lab"}', "run_as"),
        ('[{"queue": "gpu"}]', "run_as.0.account"),
        ('[{"account": ""}]', "run_as.0.account"),
        ('[{"account": 7}]', "run_as.0.account"),
        ('[{"account": "lab", "queu": "gpu"}]', "run_as.0.queu"),
    ],
)
def test_rules_that_are_no_rules_are_refused(text: str, part: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=part):
        rules(text)


@pytest.mark.parametrize(
    ("name", "part"),
    [("no-such-user", "no Unix user"), ("root", "superuser"), ("", "no Unix user")],
)
def test_accounts_that_protect_nothing_are_refused(name: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(AccountUnusable, match=part):
        account.find(name, tmp_path)


def test_the_accounts_group_and_user_are_not_athanors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody = account.find("nobody", tmp_path)
    monkeypatch.setattr(os, "getegid", lambda: nobody.gid)
    with pytest.raises(AccountUnusable, match="member of the group"):
        account.find("nobody", tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: nobody.uid)
    with pytest.raises(AccountUnusable, match="user of Athanor itself"):
        account.find("nobody", tmp_path)


def test_a_process_without_capabilities_cannot_use_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.forkserver.prctl.has_capability", lambda number: number == 5)
    with pytest.raises(AccountUnusable, match=r"CAP_CHOWN, CAP_SETGID, CAP_SETUID|only Linux"):
        account.check_permission()


def test_a_worker_that_cannot_use_accounts_exits(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.forkserver.prctl.has_capability", lambda number: False)
    refuse_unusable_accounts()
    configure(run_as=[{"account": "nobody"}])
    with pytest.raises(SystemExit, match=r"users of ATHANOR_RUNS_RUN_AS: (this process is neither root|only Linux)"):
        refuse_unusable_accounts()


def test_the_check_names_the_account(configure: Callable[..., None]) -> None:
    configure(run_as=[{"account": "nobody"}, {"account": "no-such-user"}])
    (message,) = accounts_can_be_used(None)
    assert message.id == "runs.E003"
    assert "'no-such-user'" in message.msg


def test_a_run_that_no_rule_matches_is_not_started() -> None:
    conf = load(RunsSettings, "ATHANOR_RUNS", {"run_as": RULES}, {})
    with pytest.raises(SpawnFailed, match="No rule of run_as"):
        account_of(Run(queue="runs", experiment="train"), conf)


def a_file(folder: Path, secret: Path) -> str:
    (folder / "a").mkdir()
    (folder / "a" / "file").write_text("mine")
    return "a/file"


def a_link(folder: Path, secret: Path) -> str:
    (folder / "link").symlink_to(secret)
    return "link"


def a_link_to_a_folder(folder: Path, secret: Path) -> str:
    (folder / "a").symlink_to(secret.parent, target_is_directory=True)
    return f"a/{secret.name}"


def a_pipe(folder: Path, secret: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe"


def a_file_outside(folder: Path, secret: Path) -> str:
    return f"../{secret.name}"


def an_absolute_path(folder: Path, secret: Path) -> str:
    return str(secret)


def a_missing_file(folder: Path, secret: Path) -> str:
    return "missing"


@pytest.mark.parametrize(
    ("made", "is_opened"),
    [
        (a_file, True),
        *(
            (each, False)
            for each in (a_link, a_link_to_a_folder, a_pipe, a_file_outside, an_absolute_path, a_missing_file)
        ),
    ],
)
def test_only_a_runs_own_files_are_opened(tmp_path: Path, made: Callable[[Path, Path], str], is_opened: bool) -> None:
    folder, secret = tmp_path / "run", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("secret")
    try:
        with open_inside(folder, made(folder, secret)) as file:
            assert file.read() == b"mine"
    except (OSError, ValueError):
        assert not is_opened
    else:
        assert is_opened
