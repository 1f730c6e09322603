"""Count words of a text in chunks: a small state goes into the checkpoint itself, and a later attempt goes on there.

The state is the offset of the next chunk and the counts up to it, nothing else: resuming gives exactly what a run
without an interruption gives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, Field

from experiments import Experiment, RunContext
from experiments.examples._reading import readable

SHIPPED = Path(__file__).with_name("alice.txt")
"""Lewis Carroll, Alice's Adventures in Wonderland (1865), chapter I. In the public domain."""

READABLE = "A UTF-8 text file in the examples folder or the run's work folder; empty: a chapter of Alice in Wonderland"
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


class WordCountConfig(BaseModel):
    path: Path | None = Field(None, description=READABLE)
    chunk_lines: int = Field(10, ge=1, le=1_000_000, description="Lines between two checkpoints")
    top: int = Field(20, ge=1, le=1_000, description="How many of the most frequent words are told")
    pause_s: float = Field(0.1, ge=0, le=60, description="Wait after each chunk, so that a small text can be watched")


@dataclass
class State:
    """Progress in one version of the file."""

    file: str
    """Its path, size and time of change."""
    size: int
    offset: int = 0
    lines: int = 0
    chunks: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class WordCount(Experiment):
    """Count the words of a text."""

    class Config(WordCountConfig):
        pass

    def run(self, ctx: RunContext[WordCountConfig]) -> dict[str, Any]:
        path = readable(ctx, ctx.config.path) if ctx.config.path else SHIPPED
        try:
            with path.open("rb") as file:
                state = starting_state(ctx, path)
                file.seek(state.offset)
                self.count(ctx, file, state)
        except OSError as error:
            ctx.fail(f"{path} cannot be read: {error.strerror}.")
        top = state.counts.most_common(ctx.config.top)
        ctx.result("top", [{"word": word, "count": count} for word, count in top])
        return {"words": state.counts.total(), "distinct": len(state.counts), "lines": state.lines}

    def count(self, ctx: RunContext[WordCountConfig], file: BinaryIO, state: State) -> None:
        for chunk in chunks(file, ctx.config.chunk_lines):
            ctx.raise_if_cancelled()
            add(state, chunk)
            ctx.metric("distinct_words", len(state.counts), step=state.chunks)
            ctx.progress(state.offset, state.size, f"{state.counts.total()} words")
            ctx.log.info(f"line {state.lines}: {state.counts.total()} words, {len(state.counts)} different ones")
            keep(ctx, state)
            ctx.sleep(ctx.config.pause_s)


def chunks(file: BinaryIO, lines: int) -> Iterator[list[bytes]]:
    while chunk := list(islice(file, lines)):
        yield chunk


def add(state: State, chunk: list[bytes]) -> None:
    for line in chunk:
        state.counts.update(word.lower() for word in WORD.findall(line.decode(errors="replace")))
    state.offset += sum(map(len, chunk))
    state.lines += len(chunk)
    state.chunks += 1


def keep(ctx: RunContext[WordCountConfig], state: State) -> None:
    try:
        ctx.checkpoint(vars(state))
    except ValueError as error:  # a text with very many different words: count on, without a net
        ctx.log.warning(f"no checkpoint: {error}")


def starting_state(ctx: RunContext[WordCountConfig], path: Path) -> State:
    """Return the state of an earlier attempt if it was of the same file, or else a new one."""
    stat = path.stat()
    file = f"{path} {stat.st_size} {stat.st_mtime_ns}"
    if ctx.restored is not None and ctx.restored["file"] == file:
        ctx.log.info(f"going on after line {ctx.restored['lines']}")
        return State(**{**ctx.restored, "counts": Counter(ctx.restored["counts"])})
    if ctx.restored is not None:
        ctx.log.warning("the text has changed since the last attempt: counting from its beginning")
    return State(file, stat.st_size)
