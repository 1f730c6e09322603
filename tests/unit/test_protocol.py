"""Messages between worker and fork server arrive whole and in order, with their descriptors."""

from __future__ import annotations

import os
import socket

import msgspec
import pytest

from runs.forkserver.protocol import Connection, Ping, Refused, Spawn, decode_answer, decode_request


def pair() -> tuple[Connection, Connection]:
    ours, theirs = socket.socketpair()
    return Connection(ours), Connection(theirs)


def test_large_messages_and_their_descriptors_arrive_in_order() -> None:
    ours, theirs = pair()
    pipes = [os.pipe() for _ in range(5)]
    for number, (_, write) in enumerate(pipes):
        ours.post(Spawn(number, msgspec.Raw(b'"%b"' % (b"x" * 1_000_000 * number))), [write])
        ours.post(Ping())

    got: list[object] = []
    while len(got) < 10:
        ours.flush()
        for message in theirs.receive():
            got.append(request := decode_request(message))
            if isinstance(request, Spawn):
                (fd,) = theirs.take_fds(1)
                os.write(fd, b"%d" % request.id)
                os.close(fd)

    assert [type(request) for request in got] == [Spawn, Ping] * 5
    assert [os.read(read, 10) for read, _ in pipes] == [b"0", b"1", b"2", b"3", b"4"]
    assert not ours.has_unsent
    for read, _ in pipes:
        os.close(read)
    ours.close()
    theirs.close()


def test_posting_never_blocks_and_receiving_nothing_is_nothing() -> None:
    ours, theirs = pair()
    for number in range(1000):
        ours.post(Refused(number, "x" * 10_000))

    assert ours.has_unsent
    assert ours.receive() == []
    got: list[int] = []
    while len(got) < 1000:
        ours.flush()
        got += [answer.id for answer in map(decode_answer, theirs.receive()) if isinstance(answer, Refused)]
    assert got == list(range(1000))
    ours.close()
    theirs.close()


def test_the_end_of_the_other_side_is_told_after_what_it_said() -> None:
    ours, theirs = pair()
    ours.post(Ping())
    ours.close()

    assert len(theirs.receive()) == 1
    with pytest.raises(EOFError):
        theirs.receive()
    theirs.close()


def test_nonsense_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(theirs)
    ours.send(b"\xff" * 100)

    with pytest.raises(EOFError, match="too large"):
        connection.receive()
    ours.close()
    connection.close()
