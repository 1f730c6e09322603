"""Window: it numbers, stores and forgets entries, and reports when it is full."""

from __future__ import annotations

import threading

from runs.lines import blocks, records
from runs.lines.buffer import Stream
from runs.states import AttemptKey
from runs.supervisor.window import Window

KEY = AttemptKey(7, 2)


def window(entries: int = 10, size: int = 10_000) -> Window:
    return Window(KEY, max_entries=entries, max_bytes=size, tail=3)


def line(text: str) -> bytes:
    return records.encode(records.LINE, [1.0, 20, "log", text, None])


def seqs(values: list[bytes]) -> list[int]:
    return [records.position(entry)[1] for value in values for entry in blocks.entries(value)]


def test_numbers_each_stream_from_one() -> None:
    w = window()
    w.add(Stream.LINES, [line("a"), line("b")])
    w.add(Stream.RESULTS, [b'R[1.0,"result","k",null,1]'])
    w.add(Stream.LINES, [line("c")])
    assert seqs(w.after(Stream.LINES, 0, 10)) == [1, 2, 3]
    assert seqs(w.after(Stream.RESULTS, 0, 10)) == [1]
    assert blocks.span(w.after(Stream.LINES, 0, 1)[0]) == (2, 1, 1)


def test_forgets_what_is_stored_and_goes_on_numbering() -> None:
    w = window()
    w.add(Stream.LINES, [line(str(n)) for n in range(5)])
    assert w.forget(Stream.LINES, 3)
    assert not w.forget(Stream.LINES, 3)
    assert seqs(w.after(Stream.LINES, 0, 10)) == [4, 5]
    assert seqs(w.after(Stream.LINES, 4, 10)) == [5]
    assert (w.stored(Stream.LINES), w.emitted(Stream.LINES)) == (3, 5)
    w.forget(Stream.LINES, 99)
    w.add(Stream.LINES, [line("next")])
    assert seqs(w.after(Stream.LINES, 0, 10)) == [6]


def test_is_full_by_entries_and_by_bytes_and_has_room_again() -> None:
    by_entries, by_bytes = window(entries=2), window(size=100)
    by_entries.add(Stream.LINES, [line("a"), line("b")])
    by_bytes.add(Stream.LINES, [line("x" * 100)])
    assert not by_entries.has_room
    assert not by_bytes.has_room
    by_entries.forget(Stream.LINES, 1)
    by_bytes.forget(Stream.LINES, 1)
    assert by_entries.has_room
    assert by_bytes.has_room


def test_keeps_the_last_lines_also_when_they_are_stored() -> None:
    w = window()
    w.add(Stream.LINES, [line(str(n)) for n in range(5)])
    w.forget(Stream.LINES, 5)
    assert seqs(w.tail) == [3, 4, 5]


def test_a_sender_that_waits_is_woken_by_an_entry() -> None:
    w = window()
    woken: list[bool] = []
    sent = dict.fromkeys(Stream, 0)
    waiting = threading.Thread(target=lambda: woken.append(w.wait_for_more(sent, 30.0)))
    waiting.start()
    w.add(Stream.LINES, [line("a")])
    waiting.join(10.0)
    assert woken == [True]
