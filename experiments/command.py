"""Base class of experiments that are an existing program: a fixed command line with validated parameters.

    class DiskUsage(CommandExperiment):
        argv = ("du", "-k", "-d", "{depth}", "--", "{path}")

        class Config(BaseModel):
            path: Path
            depth: int = Field(1, ge=0)

There is no shell: each element of `argv` is one argument, whatever the parameters hold. What the program prints becomes
lines of the run; exit status 0 completes it, others fail it; a cancel ends the program.
"""

from __future__ import annotations

import string
import subprocess
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from experiments.base import Experiment
from experiments.context import RunContext
from experiments.signal_names import signal_name

POLL_S = 0.1
"""Longest delay in noticing that the program has exited."""


class _Undeclared(tuple[str, ...]):
    """Mark a class without its own `argv` as abstract."""

    __slots__ = ()
    __isabstractmethod__ = True


class CommandExperiment(Experiment):
    """Run `argv` as a sub-process. Abstract until `argv` is declared.

    In `argv`, `{field}` stands for a field of the Config. An element that is nothing but `{field}` of a list stands for
    one argument per item; an element whose field is None is left out.
    """

    argv: ClassVar[Sequence[str]] = _Undeclared()
    """Program and its arguments."""

    success_codes: ClassVar[frozenset[int]] = frozenset({0})
    """Exit statuses that complete the run."""

    stop_grace_s: ClassVar[float] = 5.0
    """Seconds from SIGTERM to SIGKILL for the program when the run is cancelled."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.argv, _Undeclared):
            _check_template(cls)

    def command(self, config: Any) -> list[str]:
        """Build the command line. Override it if a template is not enough. Raises ValueError."""
        return render(self.argv, config)

    def run(self, ctx: RunContext[Any]) -> dict[str, Any]:
        try:
            command = self.command(ctx.config)
            started = time.monotonic()
            process = subprocess.Popen(command, cwd=ctx.workdir, stdin=subprocess.DEVNULL)  # noqa: S603  # no shell
        except ValueError as error:
            ctx.fail(str(error))
        except OSError as error:
            ctx.fail(f"{command[0]} could not be started: {error.strerror}.")
        ctx.log.info("started", command=command, pid=process.pid)
        code = self._wait(ctx, process)
        if code < 0:
            ctx.fail(f"{command[0]} was killed by {signal_name(-code)}.")
        if code not in self.success_codes:
            ctx.fail(f"{command[0]} exited with status {code}.")
        return {"exit_code": code, "duration_s": round(time.monotonic() - started, 3)}

    def _wait(self, ctx: RunContext[Any], process: subprocess.Popen[bytes]) -> int:
        """Wait for the program and return its exit status. An exception while waiting stops the program too."""
        pause_s = 0.001
        try:
            while (code := process.poll()) is None:
                ctx.sleep(pause_s)
                pause_s = min(pause_s * 2, POLL_S)
            return code
        finally:
            stop(process, self.stop_grace_s)


def render(argv: Sequence[str], config: BaseModel) -> list[str]:
    """Fill the template. Raises ValueError for text that would be parsed as an option, unless it follows `--`."""
    command: list[str] = []
    for element in argv:
        command.extend(_arguments(element, config, may_begin_with_dash="--" in command))
    return command


def stop(process: subprocess.Popen[Any], grace_s: float) -> None:
    """End the program if it is still running: SIGTERM, then SIGKILL after `grace_s`."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _arguments(element: str, config: BaseModel, *, may_begin_with_dash: bool) -> Iterator[str]:
    names = _fields_in(element)
    values = {name: getattr(config, name) for name in names}
    if any(value is None for value in values.values()):
        return
    if len(names) != 1 or element != f"{{{names[0]}}}":
        yield element.format(**{name: _text(value) for name, value in values.items()})
        return
    value = values[names[0]]
    for item in value if isinstance(value, list | tuple) else [value]:
        text = _text(item)
        if text.startswith("-") and isinstance(item, str | Path) and not may_begin_with_dash:
            raise ValueError(f"{names[0]} begins with a dash ({text!r}) and would be taken for an option.")
        yield text


def _text(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _fields_in(element: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(element) if name is not None]


def _check_template(cls: type[CommandExperiment]) -> None:
    """Raise TypeError at class creation if the template cannot be filled."""
    if isinstance(cls.argv, str) or not cls.argv or _fields_in(cls.argv[0]):
        raise TypeError(f"{cls.__qualname__}.argv must be a sequence of texts that begins with the program's name")
    for element in cls.argv:
        for name in _fields_in(element):
            if name not in cls.Config.model_fields:
                raise TypeError(f"{cls.__qualname__}.argv has {{{name}}}, but its Config has no field {name!r}")
