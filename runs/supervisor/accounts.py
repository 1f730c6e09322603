"""Unix account of a run, by the rules of the setting `run_as`, and the folder that it gets."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from runs.conf import RunsSettings, runs_settings
from runs.exceptions import SpawnFailed
from runs.forkserver import account
from runs.forkserver.account import Account, AccountUnusable
from runs.models import Run
from runs.run_as import account_name, needs_launcher


def accounts_of(conf: RunsSettings) -> list[Account]:
    """Look up the accounts of all rules. Raises AccountUnusable if one cannot be used, or by this process."""
    if conf.run_as:
        account.check_permission()
    return [_found(name) for name in dict.fromkeys(rule.account for rule in conf.run_as)]


def account_of(run: Run, conf: RunsSettings) -> Account:
    """Return the account of a run. Queries the database if a rule depends on who launched it.

    Raises SpawnFailed if no rule matches, or the account cannot be used.
    """
    user = run.launched_by if needs_launcher(conf.run_as) else None
    by = "" if user is None else user.get_username()
    name = account_name(conf.run_as, queue=run.queue, experiment=run.experiment, launched_by=by)
    if name is None:
        raise SpawnFailed("No rule of run_as gives the run a Unix account. Add one to ATHANOR_RUNS_RUN_AS.")
    try:
        return _found(name)
    except AccountUnusable as error:
        raise SpawnFailed(f"Its Unix account cannot be used: {error}.") from error


def prepare_folder(folder: Path, owner: Account) -> None:
    """Make a run's folder for its account. Raises SpawnFailed."""
    try:
        account.make_passable(folder.parent.parent)
        account.make_passable(folder.parent)
        account.prepare_folder(folder, owner)
    except AccountUnusable as error:
        raise SpawnFailed(f"Its folder cannot be used: {error}. Launch it again as a new run.") from error
    except OSError as error:
        raise SpawnFailed(f"Its folder cannot be prepared for {owner.name!r}: {error}") from error


@cache
def _found(name: str) -> Account:
    conf = runs_settings()
    return account.find(
        name,
        (conf.var / "accounts").absolute(),
        processes_max=conf.run_as_processes_max,
        open_files_max=conf.run_as_open_files_max,
    )
