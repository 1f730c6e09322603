"""Board that processes share, and the deadlines that a fork server reads from it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runs.forkserver.board import Board
from runs.forkserver.leases import Leases


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create()
    yield board
    board.close()


def test_a_reader_gets_the_newest_document(board: Board) -> None:
    reader = Board(board.fd)
    assert reader.read() == {}
    for number in range(3):
        board.publish({"number": number, "padding": "x" * number * 1000})
        assert reader.read()["number"] == number


def test_a_document_that_was_torn_leaves_the_one_before(board: Board) -> None:
    reader = Board(board.fd)
    board.publish({"number": 1})
    assert reader.read() == {"number": 1}
    board.publish({"number": 2})
    os.pwrite(board.fd, b"?", os.fstat(board.fd).st_size - 2)
    assert reader.read() == {"number": 1}
    board.publish({"number": 3})
    assert reader.read() == {"number": 3}


def test_a_second_writer_goes_on_where_the_first_ended(board: Board) -> None:
    reader = Board(board.fd)
    board.publish({"number": 1})
    reader.read()
    Board(board.fd).publish({"number": 1, "by": "another"})
    assert reader.read() == {"number": 1, "by": "another"}


@pytest.mark.parametrize(
    ("before", "renewed", "until"),
    [(None, None, None), (10, None, 10), (None, 12, 12), (10, 12, 12), (10, 8, 10)],
)
def test_a_child_lives_until_the_later_of_its_start_s_and_its_renewal_s_deadline(
    board: Board, before: float | None, renewed: float | None, until: float | None
) -> None:
    board.publish({"until": {} if renewed is None else {"1.1": renewed}})
    assert Leases(board).until("1.1", before) == until


def test_each_child_expires_by_its_own_deadline_and_once(board: Board) -> None:
    leases = Leases(board)
    for number in (1, 2, 3):
        leases.add(number, f"{number}.1", 10)
    board.publish({"until": {"2.1": 20}})
    leases.remove(3)
    assert leases.expired(9) == []
    assert leases.expired(10) == [1]
    assert leases.expired(15) == []
    assert leases.expired(20) == [2]
