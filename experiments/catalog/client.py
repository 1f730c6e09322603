"""Catalog of a long-lived process, which runs authors' code in a separate catalog process.

That process starts at the first request and is kept. It is replaced when a file that it imported, or a folder that it
searched, changes; meanwhile the old one answers. A module that hangs at its import, or ends the process, is skipped at
the next start until one of its files changes, so that all others stay usable. Thread-safe.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from experiments.catalog.entries import Catalog, Problem, loaded
from experiments.catalog.started import Blame, CatalogProcess, Died, Loaded
from experiments.catalog.watched import stamps
from experiments.catalog.wire import Closed, Message, TooLate
from experiments.conf import experiments_settings
from experiments.exceptions import CatalogUnavailable, InvalidDefinition
from experiments.validation import Definition

logger = logging.getLogger(__name__)

RETRY_S = 5.0
"""Pause after a failed start that no module caused."""
SLOW_RETRY_S = 60.0
"""Delay before a module that was too slow is tried again; it doubles each time."""
FATAL_MAX = 1_000
"""Maximum number of remembered requests that hung or ended the process."""


class ProcessBackend:
    """Answer from a catalog process."""

    def __init__(self, environ: Callable[[], Mapping[str, str]]) -> None:
        self._environ = environ
        self._changed = threading.Condition()
        self._process: CatalogProcess | None = None
        self._loaded: Loaded | None = None
        self._loader: threading.Thread | None = None
        self._is_outdated = False
        self._checked_at = 0.0
        self._blamed: dict[str, Blame] = {}
        self._retries: dict[str, tuple[int, float]] = {}
        """Module that was too slow → how often, and when it is tried again."""
        self._fatal: dict[str, str] = {}
        self._failure, self._failed_at = "", 0.0

    def current(self, wait_s: float | None = None) -> Catalog:
        """Return the current catalog. Waits up to `wait_s` (default: `catalog_wait_s`) while a process is loading."""
        wait_s = experiments_settings().catalog_wait_s if wait_s is None else wait_s
        with self._changed:
            self._refresh()
            if self._loaded is None or self._is_outdated or not self._is_up():
                self._changed.wait_for(lambda: self._loader is None, wait_s)
            if self._loaded is None:
                text = self._failure or "Experiments are still being loaded. Try again in a moment."
                return Catalog().with_problems([Problem("The catalog of experiments", text)], text)
            if self._loader is not None and self._is_outdated:
                text = "Files have changed and are being loaded again; the previous state is shown."
                return self._loaded.catalog.with_problems([Problem("The catalog", text, is_notice=True)])
            return self._loaded.catalog

    def validate(
        self, name: str, configuration: Any, limits: Any, tags: Any, wait_s: float | None = None
    ) -> Definition:
        question = {"ask": "validate", "configuration": configuration, "limits": limits, "tags": tags}
        definition: Definition = loaded(Definition, self._ask(name, question, wait_s))
        return definition

    def configure(self, name: str, configuration: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask(name, {"ask": "configure", "configuration": configuration})
        return answer

    def show(self, name: str, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        configuration_shown, fits = self._ask(name, {"ask": "show", "configuration": configuration})
        return configuration_shown, fits

    def stop(self) -> None:
        """End the process. A later question starts another."""
        with self._changed:
            self._changed.wait_for(lambda: self._loader is None)
            process, self._process, self._loaded = self._process, None, None
        if process is not None:
            process.kill()

    def _ask(self, name: str, question: Message, wait_s: float | None = None) -> Any:
        """Raises InvalidDefinition, CatalogUnavailable."""
        question = {**question, "experiment": name}
        try:
            key = json.dumps(question, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidDefinition(name, {"configuration": f"it has no JSON form: {error}"}) from error
        if key in self._fatal and not self._has_fatal_cleared():
            raise InvalidDefinition(name, {"configuration": self._fatal[key]})
        answer = self._answered(key, question, wait_s)
        if "invalid" in answer:
            raise InvalidDefinition(answer["experiment"], answer["invalid"])
        return answer["answer"]

    def _answered(self, key: str, question: Message, wait_s: float | None) -> Message:
        limit_s = experiments_settings().validate_max_s
        for is_last in (False, True):  # a process that somebody else killed is replaced once
            unavailable = self.current(wait_s).unavailable
            process = self._process
            if process is None or unavailable:
                raise CatalogUnavailable(unavailable or "Experiments are being loaded again. Try again in a moment.")
            if not process.lock.acquire(timeout=limit_s):
                raise CatalogUnavailable("The catalog of experiments is busy. Try again in a moment.")
            try:
                return process.ask(question, limit_s)
            except Died as died:
                if died.is_killed and not is_last:
                    process.kill()
                    continue
                self._note_fatal(key, process, died)
                raise InvalidDefinition(question["experiment"], {"configuration": self._fatal[key]}) from died
            except (Closed, TooLate):
                process.kill()
            finally:
                process.lock.release()
        raise CatalogUnavailable("The catalog of experiments ended twice. Try again in a moment.")

    def _note_fatal(self, key: str, process: CatalogProcess, died: Died) -> None:
        logger.warning("Catalog process %d: a validation %s", process.pid, died.error)
        process.kill()
        with self._changed:
            if len(self._fatal) >= FATAL_MAX:
                self._fatal.clear()
            self._fatal[key] = f"the experiment's own validation {died.error}"
            self._refresh()

    # With the lock held

    def _has_fatal_cleared(self) -> bool:
        """Return whether files have changed since a request hung or ended the process."""
        with self._changed:
            self._refresh()
            return not self._fatal

    def _is_up(self) -> bool:
        return self._process is not None and self._process.is_alive

    def _refresh(self) -> None:
        """Start loading if nothing is loaded yet, the process has ended, or files have changed."""
        if self._loader is not None or self._is_pausing():
            return
        if self._loaded is not None:
            now, refresh_s = time.monotonic(), experiments_settings().refresh_s
            if refresh_s and now - self._checked_at >= refresh_s:
                self._checked_at = now
                is_repaired = self._unblame_changed()
                self._is_outdated = is_repaired or self._loaded.watched.is_stale()
            if self._is_up() and not self._is_outdated and not self._retry_slow(now):
                return
        if self._is_outdated:
            self._fatal.clear()
        self._loader = threading.Thread(target=self._load, name="catalog-loader", daemon=True)
        self._loader.start()

    def _is_pausing(self) -> bool:
        return bool(self._failure) and time.monotonic() - self._failed_at < RETRY_S

    def _unblame_changed(self) -> bool:
        """Clear the blame of modules that hung or ended the process and have a changed file."""
        repaired = [name for name, blame in self._blamed.items() if stamps(blame.files) != blame.files]
        for name in repaired:
            del self._blamed[name]
            self._retries.pop(name, None)
        return bool(repaired)

    def _retry_slow(self, now: float) -> bool:
        due = [name for name in self._blamed if name in self._retries and self._retries[name][1] <= now]
        for name in due:
            del self._blamed[name]
        return bool(due)

    # In the loader's thread

    def _load(self) -> None:
        """Start processes until one has loaded all usable modules."""
        failure = ""
        try:
            while True:
                process = CatalogProcess(self._environ())
                result = process.load(self._blamed)
                if isinstance(result, Loaded):
                    self._replace(process, result)
                    return
                self._note_blame(result)
        except (Died, OSError) as error:
            failure = f"The catalog process {error}"
            logger.error("%s\n%s", failure, getattr(error, "where", ""))  # noqa: TRY400  # its traceback is in `where`
        except Exception as error:  # report every failure to the waiting callers
            failure = f"The catalog process failed: {type(error).__name__}: {error}"
            logger.exception("The catalog of experiments cannot be loaded")
        finally:
            with self._changed:
                self._failure, self._failed_at = failure, time.monotonic()
                self._loader = None
                self._changed.notify_all()

    def _note_blame(self, blame: Blame) -> None:
        logger.warning("Experiments in %s are left out. %s", blame.module, blame.error)
        self._blamed[blame.module] = blame
        if blame.is_slow:
            times = self._retries.get(blame.module, (0, 0.0))[0]
            self._retries[blame.module] = (times + 1, time.monotonic() + SLOW_RETRY_S * 2**times)

    def _replace(self, process: CatalogProcess, result: Loaded) -> None:
        with self._changed:
            old, self._process, self._loaded = self._process, process, result
            self._is_outdated, self._checked_at = False, time.monotonic()
        if old is not None:
            with old.lock:  # a running request gets its answer first
                old.kill()
