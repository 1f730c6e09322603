"""Disable a protection in the processes of a throwaway stack, to verify that chaos notices.

`CHAOS_WITHOUT` names protections, separated by commas. Their modules are patched when they are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

VARIABLE = "CHAOS_WITHOUT"

Patch = Callable[[Any], None]
"""Called with the module right after its import."""


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a function that protects."""


def _without_lease_deadline(server: Any) -> None:
    _replace(server.Server, "_enforce_leases", _nothing)


def _without_fencing(transitions: Any) -> None:
    _replace(transitions, "is_open", lambda *_: True)
    _replace(transitions, "_running", lambda key: transitions.Sql("WHERE id = %s", (key.run_id,)))


def _without_idempotent_rows(writing: Any) -> None:
    _replace(writing, "ON_CONFLICT", "")


def _without_trim_check(lists: Any) -> None:
    def trim(self: Any, run_id: int, stream: Any, _token: str, entries: Sequence[bytes]) -> bool:
        return bool(self._client.ltrim(lists.keys.entries(run_id, stream), len(entries), -1))

    _replace(lists.Lists, "trim", trim)
    _replace(lists.Lists, "lock", lambda *_: "nobody's")


def _without_tree_kill(process_tree: Any) -> None:
    _replace(process_tree, "descendants", lambda *_: [])
    _replace(process_tree, "own_children", set)


def _without_orphan_kill(orphans: Any) -> None:
    _replace(orphans, "orphan_processes", list)


def _without_adopted_kill(adopted: Any) -> None:
    _replace(adopted, "kill_adopted", _nothing)


def _without_replay(sender: Any) -> None:
    send = sender.Sender._send

    def send_and_forget(self: Any, stream: Any) -> None:
        send(self, stream)
        self._window.forget(stream, self._sent[stream])

    _replace(sender.Sender, "_send", send_and_forget)


def _without_final_drain(drain: Any) -> None:
    _replace(drain.Drain, "_store_window", _nothing)


def _without_recovery(reconcile: Any) -> None:
    _replace(reconcile, "recover", lambda report=None: report or reconcile.ReconcileReport())


def _without_resend(reconcile: Any) -> None:
    _replace(reconcile, "_resend", _nothing)


PROTECTIONS: dict[str, dict[str, Patch]] = {
    # The fork server kills the children of a worker that did not renew its leases in time.
    "lease_deadline": {"runs.forkserver.server": _without_lease_deadline},
    # Writes of an attempt are dropped once the attempt was taken over.
    "fencing": {"runs.transitions": _without_fencing},
    # A line or result that is stored already is skipped.
    "idempotent_rows": {"runs.lines.store.writing": _without_idempotent_rows},
    # One flusher at a time, which removes from Redis only the entries that it has read.
    "trim_check": {"runs.lines.buffer.lists": _without_trim_check},
    # With a child, all processes that it started are killed.
    "tree_kill": {
        "runs.forkserver.process_tree": _without_tree_kill,
        "runs.forkserver.adopted": _without_adopted_kill,
        "runs.recovery.orphans": _without_orphan_kill,
    },
    # Lines that Redis has are kept until the database has them, and sent again after a wipe.
    "replay": {"runs.supervisor.sender": _without_replay},
    # A supervisor stores the rest of its window before it writes the end.
    "final_drain": {"runs.supervisor.drain": _without_final_drain},
    # Attempts of vanished workers end as lost, so that their runs continue.
    "recovery": {"runs.recovery.reconcile": _without_recovery},
    # Pending runs with a lost wake-up get another one.
    "resend": {"runs.recovery.reconcile": _without_resend},
}
"""Protection → module → its patch."""


def install() -> None:
    """Patch the modules of `CHAOS_WITHOUT` as soon as they are imported. Raises KeyError for an unknown protection."""
    patches: dict[str, list[Patch]] = {}
    for protection in filter(None, os.environ.get(VARIABLE, "").split(",")):
        for module, patch in PROTECTIONS[protection].items():
            patches.setdefault(module, []).append(patch)
    if patches:
        sys.meta_path.insert(0, _Finder(patches))


def _replace(owner: Any, name: str, value: Any) -> None:
    """Replace an existing attribute; fail for a missing one, so that a renamed protection is noticed."""
    getattr(owner, name)
    setattr(owner, name, value)


class _Finder(MetaPathFinder):
    """Find the modules to patch, and run the patches after their import."""

    def __init__(self, patches: dict[str, list[Patch]]) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        patches = self._patches.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if patches else None
        if spec is not None and spec.loader is not None and patches:
            _run_after(spec.loader, patches)
        return spec


def _run_after(loader: Loader, patches: list[Patch]) -> None:
    execute = loader.exec_module

    def execute_and_patch(module: ModuleType) -> None:
        execute(module)
        for patch in patches:
            patch(module)

    loader.exec_module = execute_and_patch  # type: ignore[method-assign]
