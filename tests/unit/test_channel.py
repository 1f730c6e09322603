"""Worker's end of the records pipe: no input harms it, and no valid frame is lost."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runs.child.pipe import RecordPipe
from runs.lines import records
from runs.lines.records import FRAME_MAX_BYTES
from runs.supervisor.channel import Channel

GOOD = b'L[1.0,20,"log","hello",null]'


def channel(**limits: int) -> Channel:
    return Channel(**{"record_max_bytes": 100_000, "line_max_bytes": 10_000, "senders_max": 8, **limits})


def fed(frames: bytes, *, step: int | None = None, **limits: int) -> list[bytes]:
    """Return the records of `frames` that arrive `step` bytes at a time, until the pipe ends."""
    receiver = channel(**limits)
    step = step or max(len(frames), 1)
    out = [record for start in range(0, len(frames), step) for record in receiver.feed(frames[start : start + step])]
    return out + receiver.close()


def message(record: bytes) -> str:
    """Return the message of an L record."""
    assert record[:1] == b"L"
    text = json.loads(record[1:])[3]
    assert isinstance(text, str)
    return text


def source(record: bytes) -> Any:
    return json.loads(record[1:])[2]


def pieces(record: bytes, sender: bytes, size: int = 1000) -> list[bytes]:
    parts = [record[start : start + size] for start in range(0, len(record), size)]
    marks = [b"+"] * (len(parts) - 1) + [b"="]
    return [mark + sender + b":" + part + b"\n" for mark, part in zip(marks, parts, strict=True)]


def long_line(text: str = "x" * 9000) -> bytes:
    return records.encode(records.LINE, (1.0, 20, "log", text, None))


def test_whole_records_come_out_as_they_came_in() -> None:
    frames = [GOOD, b'R[1.0,"metric","loss",1,0.5]', b"P[1,2,null]", b'E{"outcome":"returned"}']

    assert fed(b"\n".join(frames) + b"\n") == frames


def test_bytes_may_come_one_by_one() -> None:
    assert fed(GOOD + b"\n" + GOOD + b"\n", step=1) == [GOOD, GOOD]


def test_a_long_record_is_joined() -> None:
    assert fed(b"".join(pieces(long_line(), b"7-8.1")), step=333) == [long_line()]


def test_long_records_of_several_senders_may_be_interleaved() -> None:
    ours = [pieces(long_line(str(n) * 9000), b"7-%d.1" % n) for n in range(5)]
    mixed = b"".join(frame + GOOD + b"\n" for round_ in zip(*ours, strict=True) for frame in round_)

    out = fed(mixed)

    assert sorted(record for record in out if record != GOOD) == sorted(long_line(str(n) * 9000) for n in range(5))
    assert out.count(GOOD) == sum(map(len, ours))


def test_a_sender_without_a_serial_number_is_known_too() -> None:
    mixed = [
        frame for pair in zip(pieces(long_line(), b"1-1"), pieces(long_line(), b"1-2"), strict=True) for frame in pair
    ]

    assert fed(b"".join(mixed)) == [long_line(), long_line()]


def test_a_record_that_its_sender_gave_up_is_shown_and_the_next_one_is_whole() -> None:
    abandoned = pieces(long_line("lost " * 2000), b"7-8.1")[:4]

    out = fed(b"".join(abandoned + pieces(long_line(), b"7-8.2")))

    assert out[-1] == long_line()
    assert source(out[0]) == "system"
    assert "lost lost" in message(out[0])


def test_garbage_becomes_one_line_in_its_place() -> None:
    out = fed(GOOD + b"\nforged\n\x00\xff\n" + GOOD + b"\n")

    assert [out[0], out[2]] == [GOOD, GOOD]
    assert source(out[1]) == "system"
    assert "forged" in message(out[1])
    assert "1 more" in message(out[1])


def test_empty_lines_are_nothing() -> None:
    assert fed(b"\n\n" + GOOD + b"\n\n") == [GOOD]


def test_a_frame_without_an_end_takes_no_memory_and_what_follows_is_read() -> None:
    receiver = channel()
    out = [record for _ in range(1000) for record in receiver.feed(b"L" + b"x" * 10_000)]

    assert len(out) == 1
    assert receiver.feed(b"\n" + GOOD + b"\n") == [GOOD]


def test_a_whole_frame_that_is_too_long_is_garbage() -> None:
    out = fed(b"L" + b"x" * FRAME_MAX_BYTES + b"\n" + GOOD + b"\n")

    assert source(out[0]) == "system"
    assert out[1:] == [GOOD]


def test_a_record_beyond_the_limit_is_dropped_with_a_line_that_shows_it() -> None:
    out = fed(b"".join(pieces(b"C" + b"y" * 200_000, b"1-1.1")) + GOOD + b"\n")

    assert "yyy" in message(out[0])
    assert out[1:] == [GOOD]


def test_a_line_beyond_the_limit_of_lines_is_dropped_with_a_line_that_shows_it() -> None:
    out = fed(b"".join(pieces(long_line("z" * 60_000), b"1-1.1")))

    assert len(out) == 1
    assert "zzz" in message(out[0])
    assert len(out[0]) < 1000


def test_senders_beyond_the_limit_push_out_the_oldest() -> None:
    frames = [pieces(long_line(), b"1-%d.1" % n)[0] for n in range(9)]
    rest = [frame for n in range(1, 9) for frame in pieces(long_line(), b"1-%d.1" % n)[1:]]

    out = fed(b"".join(frames + rest), senders_max=8)

    assert source(out[0]) == "system"
    assert out[1:] == [long_line()] * 8


def test_unfinished_records_hold_a_bounded_amount() -> None:
    receiver = channel(senders_max=1000)
    for sender in range(1000):
        for _ in range(90):
            receiver.feed(b"+%d:" % sender + b"x" * 1000 + b"\n")

    assert receiver._held <= 400_000


def test_what_is_left_at_the_end_is_shown() -> None:
    out = fed(pieces(long_line("unfinished " * 900), b"1-1.1")[0] + GOOD + b"\n" + b'L[1.0,20,"log","torn')

    assert out[0] == GOOD
    assert "torn" in message(out[1])
    assert "1 more" in message(out[1])


ANY_FRAME = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [GOOD, b"+", b"=", b"+1-1.1:", b"=1-1.1:", b"+1-1.1:L[", b"=1-1.2:L[1]", b"=:x", b"L", b"+1:" + b"y" * 5000]
    ),
)


@given(st.lists(ANY_FRAME, max_size=40), st.integers(1, 200))
def test_hostile_frames_never_harm_good_ones(frames: list[bytes], step: int) -> None:
    data = b"".join(frame + b"\n" + GOOD + b"\n" for frame in frames)

    out = fed(data, step=step, record_max_bytes=300, line_max_bytes=100, senders_max=2)

    assert out.count(GOOD) >= len(frames)
    assert all(record[:1] in b"LTRPCAHSEB" and b"\n" not in record for record in out)


@given(st.binary(max_size=5000), st.integers(1, 5000))
def test_random_bytes_never_raise(data: bytes, step: int) -> None:
    for record in fed(data, step=step, record_max_bytes=300):
        assert record[:1] in b"LTRPCAHSEB"


@given(st.lists(st.text(max_size=3000), min_size=1, max_size=8), st.integers(1, 4096), st.sampled_from([512, 4096]))
def test_what_the_child_writes_is_what_the_worker_reads(texts: list[str], step: int, frame_max_bytes: int) -> None:
    read, write = os.pipe()
    pipe = RecordPipe(write, line_max_bytes=100_000, frame_max_bytes=frame_max_bytes)

    def send() -> None:
        for text in texts:
            pipe.line(20, "log", text)
        os.close(write)

    sending = threading.Thread(target=send)
    sending.start()
    with os.fdopen(read, "rb") as file:
        data = file.read()
    sending.join()

    assert [message(record) for record in fed(data, step=step)] == texts
    assert all(len(frame) < frame_max_bytes for frame in data.split(b"\n"))
