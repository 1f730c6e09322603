"""Unix account of a run, by the rules of the setting `run_as`, and the folder of the run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import runs
from experiments.conf import experiment_paths
from runs.conf import RunsSettings, runs_settings
from runs.exceptions import SpawnFailed
from runs.forkserver import account
from runs.forkserver.account import Account, AccountUnusable
from runs.models import Run
from runs.run_as import account_name, needs_launcher


def accounts_of(conf: RunsSettings) -> list[Account]:
    """Look up the accounts of all rules, and let them reach their folders.

    Raises AccountUnusable if this process cannot use one, and OSError.
    """
    if conf.run_as:
        account.check_permission()
        account.make_passable(conf.var)
        account.make_passable(conf.var / "runs")
    return [_found(name) for name in dict.fromkeys(rule.account for rule in conf.run_as)]


def account_of(run: Run, conf: RunsSettings) -> Account:
    """Return the account of a run. Queries the database if a rule depends on who launched it.

    Raises SpawnFailed if no rule matches, or the account cannot be used.
    """
    user = run.launched_by if needs_launcher(conf.run_as) else None
    by = "" if user is None else user.get_username()
    name = account_name(conf.run_as, queue=run.queue, experiment=run.experiment, launched_by=by)
    if name is None:
        raise SpawnFailed("No rule of run_as matches the run. Add one to ATHANOR_RUNS_RUN_AS.")
    try:
        return _found(name)
    except AccountUnusable as error:
        raise SpawnFailed(f"Its Unix account cannot be used: {error}.") from error


def prepare_folder(folder: Path, owner: Account) -> None:
    """Create a run's folder for its account. Raises SpawnFailed."""
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
        private=conf.run_as_private,
        tmp_max_bytes=conf.run_as_tmp_max_bytes,
        shown=tuple(map(str, _needed())),
    )


def _needed() -> Iterator[Path]:
    """Yield the folders that runs need: Athanor, Python, experiments, their own. Never the whole var folder."""
    conf = runs_settings()
    yield from (conf.var.absolute() / "runs", conf.var.absolute() / "accounts")
    yield from (Path(runs.__file__).parent.parent, Path(sys.prefix), Path(sys.base_prefix), Path.cwd())
    yield from map(Path, filter(None, sys.path))
    yield from experiment_paths()
