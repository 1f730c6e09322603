"""Printed and written output is complete after the run, for any target and any end."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from runs.forkserver.client import ForkServer
from tests.integration.spawning import Heard, spec
from tests.integration.terminal import as_a_run, in_a_terminal, lines_of

# Text that was flushed, and then a death without any end of Python's

FLUSHED = {
    "print": "print('text', end='', flush=True)",
    "print_many": "for part in 'text': print(part, end='', flush=True)",
    "redrawn": "print('\\rtext', end='', flush=True)",
    "stderr": "sys.stderr.write('text'); sys.stderr.flush()",
    "buffer": "sys.stdout.buffer.write(b'text'); sys.stdout.buffer.flush()",
    "raw": "sys.stdout.buffer.raw.write(b'text')",
    "own_wrapper": "own = io.TextIOWrapper(sys.stdout.buffer); own.write('text'); own.flush()",
    "own_buffer": "own = io.BufferedWriter(sys.stderr.buffer.raw); own.write(b'text'); own.flush()",
    "write_through": "sys.stdout.reconfigure(write_through=True); sys.stdout.write('text')",
    "duplicate": "own = os.fdopen(os.dup(1), 'w'); own.write('text'); own.flush()",
    "descriptor": "os.write(2, b'text')",
    "thread": "t = threading.Thread(target=lambda: print('text', end='', flush=True)); t.start(); t.join()",
}
DEATHS = {
    "exit": "os._exit(3)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "term": "os.kill(os.getpid(), signal.SIGTERM); signal.pause()",
    "segfault": "ctypes.string_at(0)",
    "abort": "os.abort()",
}
IMPORTS = "import ctypes, gzip, io, logging, os, signal, sys, tempfile, threading, zipfile\n"


def script(folder: Path, *parts: str) -> Path:
    path = folder / "script.py"
    path.write_text(IMPORTS + "\n".join(parts) + "\n")
    return path


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("stream", FLUSHED)
def test_flushed_text_outlives_every_death(
    cold_fork_server: ForkServer, tmp_path: Path, stream: str, death: str
) -> None:
    heard = as_a_run(cold_fork_server, script(tmp_path, FLUSHED[stream], DEATHS[death]))

    assert heard.end is None
    assert (heard.exit.status, heard.exit.signal) != (0, None)
    assert lines_of(heard) == ["text"]


# Text that nobody flushed, and an end where Python still runs

UNFLUSHED = {
    "print": "print('text', end='')",
    "stderr": "sys.stderr.write('text')",
    "buffer": "sys.stdout.buffer.write(b'text')",
    "own_wrapper": "own = io.TextIOWrapper(sys.stdout.buffer); own.write('text')",
    "own_stdout": "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8'); print('text')",
    "detached": "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8'); print('text', end='')",
    "own_buffer": "own = io.BufferedWriter(sys.stdout.buffer.raw); own.write(b'text')",
    "duplicate": "own = os.fdopen(os.dup(1), 'w'); own.write('text')",
    "descriptor": "own = open(2, 'w', closefd=False); own.write('text')",
    "in_a_circle": "own = os.fdopen(os.dup(1), 'w'); own.write('text'); circle = [own]; circle.append(circle); del own",
    "of_c": "ctypes.CDLL(None).printf(b'text')",
    "redrawn": "print('\\rtext', end='')",
    "at_exit": "import atexit; atexit.register(print, 'text', end='')",
    "finaliser": "class Own:\n    def __del__(self): print('text')\nown = Own()",
    "thread": "t = threading.Thread(target=lambda: print('text', end='')); t.start(); t.join()",
}
ENDS = {
    "return": "",
    "raise": "sys.excepthook = lambda *_: None\nraise ValueError('no')",
    "exit": "sys.exit(0)",
    "status": "raise SystemExit(3)",
    "interrupted": "sys.excepthook = lambda *_: None\nraise KeyboardInterrupt",
    "terminated": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); os.kill(os.getpid(), signal.SIGTERM)",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("stream", UNFLUSHED)
def test_text_that_nobody_flushed_is_there_at_every_end(
    cold_fork_server: ForkServer, tmp_path: Path, stream: str, end: str
) -> None:
    heard = as_a_run(cold_fork_server, script(tmp_path, UNFLUSHED[stream], ENDS[end]))

    assert heard.end is not None
    assert heard.exit.status == 0
    assert lines_of(heard) == ["text"]


@pytest.mark.parametrize("stream", UNFLUSHED)
def test_a_terminal_shows_the_same(tmp_path: Path, stream: str) -> None:
    assert [line.strip() for line in in_a_terminal(script(tmp_path, UNFLUSHED[stream]))] == ["text"]


def unzipped(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


FILES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "text": ("own = open(path, 'w'); own.write('text')", Path.read_text),
    "bytes": ("own = open(path, 'wb'); own.write(b'text')", Path.read_text),
    "updated": ("open(path, 'w').close(); own = open(path, 'r+b'); own.write(b'text')", Path.read_text),
    "gzip": (
        "own = gzip.open(path, 'wt'); own.write('text')",
        unzipped,
    ),
    "csv": ("import csv; own = csv.writer(open(path, 'w')); own.writerow(['text'])", Path.read_text),
    "of_a_library": (
        "import fractions; fractions.own = gzip.open(path, 'wb'); fractions.own.write(b'text')",
        unzipped,
    ),
    "logging": ("logging.basicConfig(filename=path, format='%(message)s'); logging.error('text')", Path.read_text),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", FILES)
def test_a_file_left_open_is_whole_at_every_end(
    cold_fork_server: ForkServer, tmp_path: Path, kind: str, end: str
) -> None:
    write, read = FILES[kind]
    target = tmp_path / "target"
    heard = as_a_run(cold_fork_server, script(tmp_path, f"path = {str(target)!r}", write, ENDS[end]))

    assert heard.exit.status == 0
    assert read(target).strip() == "text"


# Processes that the run starts

CHILD = """
import multiprocessing
if __name__ in ("__main__", "user_script"):
    process = multiprocessing.get_context({method!r}).Process(target={target}, args={args}, kwargs={kwargs})
    process.start()
    process.join()
"""
TARGETS = {
    "print": ("print", "('text',)", "{'end': ''}"),
    "flushed": ("print", "('text',)", "{'end': '', 'flush': True}"),
    "whole_line": ("print", "('text',)", "{}"),
    "descriptor": ("os.write", "(1, b'text')", "{}"),
    "raised": ("sys.exit", "('text',)", "{}"),
}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_a_process_of_the_run_prints_is_there(
    cold_fork_server: ForkServer, tmp_path: Path, target: str, method: str
) -> None:
    function, args, kwargs = TARGETS[target]
    path = script(tmp_path, CHILD.format(method=method, target=function, args=args, kwargs=kwargs))

    assert lines_of(as_a_run(cold_fork_server, path)) == in_a_terminal(path) == ["text"]


def test_unflushed_text_of_the_parent_is_not_printed_by_a_forked_process(
    cold_fork_server: ForkServer, tmp_path: Path
) -> None:
    forks = "print('parent', end='')\nif os.fork() == 0:\n    os._exit(0)\nos.wait()"

    assert lines_of(as_a_run(cold_fork_server, script(tmp_path, forks))) == ["parent"]


def test_a_cancelled_run_keeps_its_unflushed_text(cold_fork_server: ForkServer, tmp_path: Path) -> None:
    path = script(tmp_path, UNFLUSHED["own_wrapper"], "print('waiting', flush=True)", "signal.pause()")
    heard = Heard(cold_fork_server, spec(tmp_path, "script", path=str(path)))
    heard.wait_for("waiting")
    heard.child.interrupt()

    assert heard.wait().signal is None
    assert "text" in "".join(heard.lines())
