"""Ways to come to an end, each of which a script and a run can do: `python -c "import finishing; ..."` compares them.

Every way takes a folder to leave its proofs in. Nothing of Athanor in them.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from experiments import Experiment, RunContext

SHORT_S = 0.3


class Finishing(Experiment):
    """Ends in one of the ways of this module."""

    class Config(BaseModel):
        way: str
        path: Path
        method: str = "fork"
        stream: str = "print"

    def run(self, ctx: RunContext[Config]) -> Any:
        return finish(ctx.config.way, ctx.config.path, ctx.config.method, ctx.config.stream)


def finish(way: str, path: Path, method: str, stream: str) -> Any:
    function: Callable[..., Any] = globals()[way]
    return function(Way(path, method, stream))


class Way:
    """Tools of a way to end."""

    def __init__(self, path: Path, method: str, stream: str) -> None:
        self.path, self.method, self.stream = path, method, stream

    @property
    def processes(self) -> Any:
        return multiprocessing.get_context(self.method)

    def write(self, text: str) -> None:
        """A line, in the stream's own fashion."""
        text = f"> {text}"
        match self.stream:
            case "print":
                print(text, flush=True)
            case "unflushed":
                sys.stdout.write(f"{text}\n")
            case "stderr":
                sys.stderr.write(f"{text}\n")
            case "descriptor":
                os.write(1, f"{text}\n".encode())


def leave(path: Path, name: str, *, after_s: float = 0.0) -> None:
    time.sleep(after_s)
    (path / name).touch()


def square(number: int) -> int:
    return number * number


# One process


def returns(way: Way) -> int:
    way.write("returning")
    return 7


def raises(way: Way) -> None:
    atexit.register(leave, way.path, "atexit")
    way.write("raising")
    raise ValueError("on purpose")


def exits(way: Way) -> None:
    atexit.register(leave, way.path, "atexit")
    way.write("exiting")
    sys.exit(3)


def exit_functions(way: Way) -> None:
    """Run in reverse order; one that raises, or exits, does not stop the others."""
    atexit.register(way.write, "last")
    atexit.register(exits_again)
    atexit.register(squares_a_text)
    atexit.register(way.write, "first")


def exits_again() -> None:
    sys.exit(4)


def squares_a_text() -> None:
    square("x")  # type: ignore[arg-type]


# Forks


def forks(way: Way, action: Callable[[], Any]) -> None:
    """Fork a process that does `action`; its parent writes how it ended."""
    if (pid := os.fork()) == 0:
        way.write("forked")
        action()
        return
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    way.write(f"the forked process ended with {status}")


def fork_returns(way: Way) -> None:
    forks(way, lambda: None)


def fork_raises(way: Way) -> None:
    forks(way, squares_a_text)


def fork_exits(way: Way) -> None:
    forks(way, lambda: sys.exit(3))


def fork_exits_with_a_text(way: Way) -> None:
    forks(way, lambda: sys.exit("goodbye"))


def fork_exits_at_once(way: Way) -> None:
    atexit.register(way.write, "an exit function")
    forks(way, lambda: os._exit(5))


def fork_has_an_exit_function(way: Way) -> None:
    """A script runs it in both processes."""
    atexit.register(way.write, "an exit function")
    forks(way, lambda: None)


def fork_has_a_thread(way: Way) -> None:
    forks(way, lambda: threading.Thread(target=leave, args=(way.path, "thread"), kwargs={"after_s": SHORT_S}).start())


def fork_returns_nonsense(way: Way) -> Any:
    """Return a value from `run` in a forked process, which nobody uses."""
    forked = threading.Event()
    forks(way, forked.set)
    return object() if forked.is_set() else None


def fork_outlives_the_parent(way: Way) -> None:
    if os.fork() == 0:
        os._exit(0)


def fork_in_an_exit_function(way: Way) -> None:
    atexit.register(forks, way, lambda: None)


# Work that goes on


def thread(way: Way) -> None:
    threading.Thread(target=leave, args=(way.path, "thread"), kwargs={"after_s": SHORT_S}).start()


def thread_after_an_error(way: Way) -> None:
    thread(way)
    raise ValueError("on purpose")


def daemon_thread(way: Way) -> None:
    threading.Thread(target=leave, args=(way.path, "thread"), kwargs={"after_s": 60.0}, daemon=True).start()


def thread_executor(way: Way) -> None:
    executor = ThreadPoolExecutor(1)
    for number in range(3):
        executor.submit(leave, way.path, f"task-{number}", after_s=SHORT_S / 3)


def process_executor(way: Way) -> None:
    executor = ProcessPoolExecutor(2, mp_context=way.processes)
    for number in range(3):
        executor.submit(leave, way.path, f"task-{number}")


def process(way: Way) -> None:
    way.processes.Process(target=leave, args=(way.path, "process"), kwargs={"after_s": SHORT_S}).start()


def process_raises(way: Way) -> None:
    child = way.processes.Process(target=square, args=("x",))
    child.start()
    child.join()
    way.write(f"ended with {child.exitcode}")


def daemon_process(way: Way) -> None:
    way.processes.Process(target=leave, args=(way.path, "process"), kwargs={"after_s": 60.0}, daemon=True).start()


def open_pool(way: Way) -> None:
    pool = way.processes.Pool(2)
    way.write(str(pool.map(square, range(4))))
    globals()["_pool"] = pool


def manager(way: Way) -> None:
    shared = way.processes.Manager().dict()
    worker = way.processes.Process(target=shared.__setitem__, args=("key", 1))
    worker.start()
    worker.join()
    way.write(str(shared.copy()))


def queue(way: Way) -> None:
    numbers = way.processes.Queue()
    worker = way.processes.Process(target=numbers.put, args=(5,))
    worker.start()
    way.write(str(numbers.get()))
    worker.join()


# Shared memory


def shared(way: Way) -> None:
    block = shared_memory.SharedMemory(create=True, size=1000)
    (way.path / "shm-name").write_text(block.name)
    block.close()
    block.unlink()


def leaked(way: Way, *, then: Callable[[], Any] = lambda: None) -> None:
    """Leave a block that multiprocessing's resource tracker removes after the process has ended in any way."""
    block = shared_memory.SharedMemory(create=True, size=1000)
    (way.path / "shm-name").write_text(block.name)
    globals()["_block"] = block
    then()


def leaked_and_exits_at_once(way: Way) -> None:
    leaked(way, then=lambda: os._exit(5))


def leaked_and_killed(way: Way) -> None:
    leaked(way, then=lambda: os.kill(os.getpid(), 9))


# joblib


def joblib_parallel(way: Way) -> None:
    import joblib

    way.write(str(joblib.Parallel(n_jobs=2)(joblib.delayed(square)(number) for number in range(4))))


def joblib_shares_memory(way: Way, *, then: Callable[[], Any] = lambda: None) -> None:
    """Large arrays lie in /dev/shm while the workers use them."""
    import joblib
    import numpy as np

    data = np.ones(400_000)
    parallel = joblib.Parallel(n_jobs=2, max_nbytes=1000)
    way.write(str(parallel(joblib.delayed(np.sum)(data) for _ in range(4))))
    then()


def joblib_and_killed(way: Way) -> None:
    joblib_shares_memory(way, then=lambda: os.kill(os.getpid(), 9))


def scikit_learn(way: Way) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    scores = cross_val_score(LogisticRegression(max_iter=300), *load_iris(return_X_y=True), n_jobs=2, cv=3)
    way.write(f"{scores.mean():.1f}")


# Work that does not end


def endless_thread(way: Way) -> None:
    threading.Thread(target=time.sleep, args=(60.0,), name="uploader").start()


def endless_process(way: Way) -> None:
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60.0,), name="trainer").start()


def endless_executor(way: Way) -> None:
    ThreadPoolExecutor(1, thread_name_prefix="pool").submit(time.sleep, 60.0)


def endless_exit_function(way: Way) -> None:
    atexit.register(sleep_long)


def sleep_long() -> None:
    time.sleep(60.0)


def endless_program(way: Way) -> None:
    """A script does not wait for it, and neither does a run."""
    subprocess.Popen(["sleep", "61"])


def slow_thread(way: Way) -> None:
    threading.Thread(target=time.sleep, args=(1.6,), name="uploader").start()
