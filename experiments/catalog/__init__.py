"""Experiments of this process as data, and the only validator of launches.

A command or a user's own script imports experiments itself. A long-lived process calls `use_process` at its start:
from then on it runs no code of experiment authors. See docs/decisions/0008-catalog-process.md.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from experiments import sealing
from experiments.catalog.client import ProcessBackend
from experiments.catalog.entries import Catalog, Entry, Problem
from experiments.catalog.local import LocalBackend
from experiments.exceptions import CatalogUnavailable, InvalidDefinition
from experiments.forms import encoding
from experiments.validation import MASK, Definition, is_secret_like, masked_by_name

__all__ = [
    "Catalog",
    "Entry",
    "Problem",
    "configure",
    "current",
    "examined",
    "is_in_process",
    "masked",
    "may_be_masked",
    "rest",
    "set_environment",
    "show",
    "use_process",
    "validate",
    "warm_up",
    "without_waiting",
]

EXAMINE_MAX_S = 600.0
Environ = Callable[[], Mapping[str, str]]


class Backend(Protocol):
    """Interface of the two backends: the catalog process, or this process itself."""

    def current(self, wait_s: float | None = None) -> Catalog: ...
    def validate(
        self, name: str, configuration: Any, limits: Any, tags: Any, wait_s: float | None = None
    ) -> Definition: ...
    def configure(self, name: str, configuration: Any) -> dict[str, Any]: ...
    def show(self, name: str, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], bool]: ...
    def stop(self) -> None: ...


_patience: ContextVar[float | None] = ContextVar("patience", default=None)
_backend: Backend = LocalBackend()
_environ: Environ = lambda: dict(os.environ)  # noqa: E731  # replaced by `set_environment`


def set_environment(environ: Environ) -> None:
    """Set the environment of catalog processes: that of a run, without Athanor's credentials."""
    global _environ  # noqa: PLW0603  # set once, when Django starts
    _environ = environ


def use_process() -> None:
    """Import experiments in a catalog process from now on. It starts at the first request."""
    global _backend  # noqa: PLW0603  # the one choice of a process, made at its start
    if is_in_process():
        _backend = ProcessBackend(_environ)


def use_this_process() -> None:
    """Import experiments in this process, as scripts and tests do."""
    global _backend  # noqa: PLW0603  # as above
    _backend.stop()
    _backend = LocalBackend()


def examined() -> Catalog:
    """Load all experiments and problems in another process, even if this one may import experiments.

    Blocks until everything that can be loaded is loaded: up to `import_max_s` for each source that hangs.
    """
    if not is_in_process():
        return current(EXAMINE_MAX_S)
    backend = ProcessBackend(_environ)
    try:
        return backend.current(EXAMINE_MAX_S)
    finally:
        backend.stop()


def is_in_process() -> bool:
    """Return whether experiments are imported into this process."""
    return isinstance(_backend, LocalBackend)


def warm_up() -> None:
    """Start loading in the background, so that the first request is answered at once."""
    threading.Thread(target=_backend.current, name="catalog-warm-up", daemon=True).start()


@contextmanager
def without_waiting() -> Iterator[None]:
    """Raise CatalogUnavailable within the block instead of waiting for experiments that are being loaded."""
    token = _patience.set(0.0)
    try:
        yield
    finally:
        _patience.reset(token)


def rest() -> None:
    """Stop the catalog process, if there is one. A later request starts another."""
    _backend.stop()


def current(wait_s: float | None = None) -> Catalog:
    """Return all current experiments and problems. Waits up to `catalog_wait_s` while they are being loaded."""
    return _backend.current(_patience.get() if wait_s is None else wait_s)


def validate(name: str, configuration: Any = None, limits: Any = None, tags: Any = None) -> Definition:
    """Validate configuration, limits and tags together, with the experiment's own model.

    Raises InvalidDefinition with all problems, CatalogUnavailable if the catalog cannot answer right now.
    """
    definition = _backend.validate(name, _opened(name, configuration), limits, tags, _patience.get())
    if definition.secrets:
        try:
            sealing.cipher()
        except sealing.InvalidKey as error:
            raise InvalidDefinition(name, {"configuration": f"Cannot store its secrets: {error}"}) from error
    return definition


def configure(name: str, configuration: Any) -> dict[str, Any]:
    """Return the stored form of a configuration. Raises InvalidDefinition, CatalogUnavailable."""
    return _backend.configure(name, _opened(name, configuration))


def _opened(name: str, configuration: Any) -> Any:
    try:
        return sealing.opened(configuration)
    except sealing.Unreadable as error:
        raise InvalidDefinition(name, {f"configuration.{error.path}": error.reason}) from error
    except RecursionError as error:
        raise InvalidDefinition(name, {"configuration": "Nested too deeply."}) from error


def show(name: str, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a stored configuration with masked secrets, and whether it still fits its experiment."""
    shown, fits = _shown(name, sealing.hidden(configuration, MASK))
    entry = None if fits else current(0.0).entries.get(name)
    if entry is not None:  # its model refuses the mask, but its form tells which fields hold secrets
        shown = encoding.declared(entry.form, shown, configuration)
    return sealing.with_marks(shown, configuration, MASK), fits


def _shown(name: str, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    try:
        return _backend.show(name, configuration)
    except (CatalogUnavailable, InvalidDefinition):  # only the declared fields say what is secret
        visible = masked_by_name(configuration)
        entry = current(0.0).entries.get(name)
        return (encoding.concealed(entry.form, visible, is_trusted=False) if entry else visible), False


def masked(name: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored configuration with masked secrets."""
    return show(name, configuration)[0]


def may_be_masked(entry: Entry | None, path: Sequence[str]) -> bool:
    """Return whether `masked` may hide the value at this path of an experiment's configuration. None: it is unknown."""
    return is_secret_like(path[-1]) if entry is None else encoding.may_be_masked(entry.form, path)
