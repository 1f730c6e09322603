"""Templates: processes that have imported an experiment, from which the fork server gets the processes of its runs.

A template is made after a cold run of an experiment that wants warm starts. It reports what it has imported. A spawn
takes a process that the template has forked in advance, or waits for one, if no imported file has changed since. In
every other case the run starts cold, with a reason.

A template is no child of a run: its pid, and that of each process that it has forked and that waits for a run, is
reserved with the reaper. It ends when it is not used for long, when memory is short, when others are needed more, and
when a file has changed. For a single-threaded process.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runs.forkserver.ready import HANDOVER_MAX_BYTES, memory_is_short
from runs.forkserver.reaper import Reaper
from runs.forkserver.template import Template

Fork = Callable[[str, bool, int], int]
"""Forks a template of an experiment that wants it explicitly or not, with its socket; returns its pid."""

WAIT_S = 2.0
"""Longest wait of a spawn for the process that a template forks. Then the run starts cold."""
REFILL_AFTER_S = 0.005
"""Pause between a spawn and the next fork in advance: the first lines of a run come first."""
CHECK_EVERY_S = 1.0
"""Interval of the checks for templates that are no longer of use."""
REPLACE_AFTER_S = 30.0
"""Shortest time without a run after which a template makes room for another. Else experiments would take turns."""
REASONS_MAX = 1_000
"""Most experiments whose reason for a cold start is kept."""
COLD = "cold: "
"""Beginning of the text of a cold start that has a reason."""
SPEC_TOO_LARGE = "its configuration and checkpoint are too large to hand over"


@dataclass(frozen=True, slots=True)
class WarmLimits:
    """Limits of the templates of a fork server."""

    most: int
    """Number of templates. 0 keeps none."""
    idle_s: float
    """Time without a run after which a template ends."""
    import_max_s: float
    """Longest import in a template."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start of a run: in the process `pid`, or cold, or later if it `waits`. The text is for the run's page."""

    pid: int | None = None
    waits: bool = False
    text: str = ""


class Templates:
    """Templates of a fork server by the name of their experiment. `read` when its descriptor is readable."""

    def __init__(self, reaper: Reaper) -> None:
        self._fork: Fork | None = None
        self._reaper, self._limits = reaper, WarmLimits(0, 0.0, 0.0)
        self._templates: dict[str, Template] = {}  # in the order of their use
        self._leaving: list[Template] = []
        self._selector = selectors.DefaultSelector()
        self._checked_at = time.monotonic()

    def fileno(self) -> int:
        return self._selector.fileno()

    @property
    def has_processes(self) -> bool:
        """True while a template has a process."""
        return bool(self._leaving) or any(template.has_process for template in self._templates.values())

    def enable(self, fork: Fork, limits: WarmLimits) -> None:
        """Keep templates from now on."""
        self._fork, self._limits = fork, limits

    def keep(self, name: str, *, is_explicit: bool) -> None:
        """Make a template of an experiment that has just started cold, unless there is one."""
        fork = self._fork
        if fork is None or self._current(name) is not None or memory_is_short() or not self._make_room():
            return
        template = Template.fork(lambda fd: fork(name, is_explicit, fd), self._reaper, is_explicit=is_explicit)
        if template is not None:
            self._templates[name] = template
            self._selector.register(template.socket, selectors.EVENT_READ, template)

    def _make_room(self) -> bool:
        """End the template that was not used for longest, if there are too many. Return whether there is room."""
        running = [name for name, template in self._templates.items() if template.has_process]
        if len(running) >= self._limits.most and running:
            if time.monotonic() - self._templates[running[0]].used_at < REPLACE_AFTER_S:
                return False
            self._drop(running[0])
        if len(self._templates) >= REASONS_MAX:
            self._drop(next(iter(self._templates)))
        return self._limits.most > 0

    def start(self, name: str, spec: bytes, fds: Sequence[int], *, asked_at: float | None = None) -> Start:
        """Start a run, if a process of its experiment's template is there. Does not close the descriptors.

        While the answer is that the run waits, call it again after `read`, with the time of the first call. The caller
        checks the lease before each call, and adds the child to the reaper at once.
        """
        template = self._current(name)
        if template is None:
            return Start()
        if not template.is_ready:
            return Start(text=f"{COLD}{template.reason}" if template.reason else "")
        if len(spec) > HANDOVER_MAX_BYTES:
            return Start(text=f"{COLD}{SPEC_TOO_LARGE}")
        self._templates[name] = self._templates.pop(name)
        pid = template.hand_over(spec, fds)
        if pid is not None:
            return Start(pid, text=f"warm, without {template.import_s:.2g} s of imports")
        if asked_at is None:
            template.ask(more=True)
        elif time.monotonic() - asked_at > WAIT_S:
            self._drop(name)
            return Start(text=f"{COLD}its template process did not answer")
        return Start(waits=name in self._templates)

    def read(self) -> None:
        """Handle what the templates have sent."""
        for key, _ in self._selector.select(0):
            template: Template = key.data
            if not template.read():
                self._close(template)

    def due_in(self) -> float | None:
        """Return the seconds until `work` has something to do; None without templates."""
        now = time.monotonic()
        dues = [self._checked_at + CHECK_EVERY_S] if self._templates or self._leaving else []
        dues += [each.used_at + REFILL_AFTER_S for each in self._templates.values() if each.is_short]
        return max(min(dues) - now, 0.0) if dues else None

    def work(self) -> None:
        """Fork processes in advance, and end the templates that are no longer of use. For an idle moment."""
        now = time.monotonic()
        for template in self._templates.values():
            if template.is_short and now >= template.used_at + REFILL_AFTER_S:
                template.ask()
        if now >= self._checked_at + CHECK_EVERY_S:
            self._checked_at = now
            self._check(now)

    def _check(self, now: float) -> None:
        is_short = memory_is_short()
        for name, template in list(self._templates.items()):
            if template.is_importing and now - template.used_at > self._limits.import_max_s:
                template.fail(f"importing it took longer than {self._limits.import_max_s:g} s")
            elif template.has_process and (is_short or now - template.used_at > self._limits.idle_s):
                self._drop(name)
        for template in self._leaving:
            if now - template.left_at > WAIT_S:
                template.kill()

    def end_all(self) -> None:
        """Kill all templates and the processes that they have forked in advance. The reaper collects them."""
        for template in [*self._templates.values(), *self._leaving]:
            if template.has_process:
                self._close(template)
        self._templates.clear()

    def _current(self, name: str) -> Template | None:
        """Return the template of an experiment, after dropping one whose files have changed or which has ended."""
        template = self._templates.get(name)
        if template is not None and template.is_over:
            self._drop(name)
            return None
        return template

    def _drop(self, name: str) -> None:
        """Let a template end, with the processes that it has forked in advance."""
        template = self._templates.pop(name)
        if template.has_process:
            template.leave()
            self._leaving.append(template)

    def _close(self, template: Template) -> None:
        """Forget the process of a template that has closed its connection."""
        self._selector.unregister(template.socket)
        template.close()
        if template in self._leaving:
            self._leaving.remove(template)
