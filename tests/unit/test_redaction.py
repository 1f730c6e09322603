"""Secrets of a run in what it says: every form, every record, parts of lines. Linear in the size of the output."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.lines import records
from runs.lines.folding import Folding, cut
from runs.outcomes import ProcessRow
from runs.states import Source
from runs.supervisor.capture import RawStream
from runs.supervisor.redaction import SECRETS_MAX, Redactor

pytestmark = pytest.mark.any_database

SECRET = 'sk-"4f/9é\\=+ & 7b1e'
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n"
REDACTOR = Redactor([("endpoint.api_key", SECRET), ("pem", PEM), ("short", "12345"), ("plain", "hunter2-and-more")])
MARK = "[secret endpoint.api_key]"


def line(message: str, metadata: object = None, source: str = "stdout") -> bytes:
    return records.encode(records.LINE, [1.5, 20, source, message, metadata])


def body(record: bytes) -> list[object]:
    decoded: list[object] = json.loads(record[1:])
    return decoded


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        repr(SECRET)[1:-1],
        str({"key": SECRET}),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"u:{SECRET}".encode()).decode(),
        base64.b64encode(f"usr:{SECRET};".encode()).decode(),
        base64.b64encode(f"user:{SECRET}.".encode()).decode(),
    ],
)
def test_every_form_of_a_secret_is_redacted(written: str) -> None:
    [found] = REDACTOR.records([line(f"<{written}>")])
    message = str(body(found)[3])
    assert MARK in message
    assert written not in message
    assert (message[0], message[-1]) == ("<", ">")


def test_texts_of_records_are_redacted_and_nothing_else() -> None:
    metadata = {"n": 12345678901234567890123, SECRET: [SECRET, None, 0.1]}
    told = line("no secret here", metadata)
    [found] = REDACTOR.records([told])
    assert body(found) == [1.5, 20, "stdout", "no secret here", {"n": metadata["n"], MARK: [MARK, None, 0.1]}]
    result = records.encode(records.RESULT, [1.5, "metric", f"loss of {SECRET}", 3, 0.25])
    assert body(REDACTOR.records([result])[0]) == [1.5, "metric", f"loss of {MARK}", 3, 0.25]


def test_a_secret_that_looks_like_the_format_breaks_no_record() -> None:
    redactor = Redactor([("a", "stdout"), ("b", "[secret a]"), ("c", "1.5,20")])
    [found] = redactor.records([line("on stdout")])
    assert body(found) == [1.5, 20, "stdout", "on [secret a]", None]


def test_batches_without_a_secret_are_returned_as_they_are() -> None:
    batch = [line("epoch 12345 done"), line("héllo")]
    assert REDACTOR.records(batch) is batch
    assert not Redactor([("short", "12345")])


def test_each_long_line_of_a_secret_is_redacted() -> None:
    for text in PEM.splitlines():
        message = str(body(REDACTOR.records([line(text)])[0])[3])
        assert message == (text if text.startswith("-----") else "[secret pem]")


@pytest.mark.parametrize(("cut", "is_told"), [(1, True), (5, True), (6, False), (10, False), (15, False)])
def test_unfinished_text_does_not_show_the_beginning_of_a_secret(cut: int, is_told: bool) -> None:
    secret = "hunter2-and-more"
    stream = RawStream(Source.STDOUT, Folding(65536, 0.5, 0.2, 10))
    first = stream.feed(f"key: {secret[:cut]}".encode(), 1.0, 1.0) + stream.rest(2.0, 2.0)
    rest = stream.feed(f"{secret[cut:]} end\n".encode(), 3.0, 3.0)
    messages = [str(body(record)[3]) for batch in (first, rest) for record in REDACTOR.records(batch)]
    assert messages[0] == f"key: {secret[:cut]}" if is_told else "key: [secret plain]"
    assert messages[-1] == "key: [secret plain] end"


def test_the_parts_of_a_secret_that_was_wrapped_are_redacted() -> None:
    told = [line("a key: hunter2-an"), line("d-more and more")]
    messages = [str(body(record)[3]) for record in REDACTOR.records(told)]
    assert messages == ["a key: [secret plain]", "[secret plain] and more"]
    assert str(body(REDACTOR.records([line("2-and-more, said it")])[0])[3]) == "[secret plain], said it"


def test_the_number_of_secrets_is_bounded() -> None:
    redactor = Redactor([("many", "\n".join(f"line number {n}" for n in range(1000))), ("one", "hunter2-and-more")])
    assert redactor.left_out == 1000 + 1 + 1 - SECRETS_MAX
    assert body(redactor.records([line("line number 7")])[0])[3] == "[secret many]"


def test_a_text_that_was_cut_within_a_secret_shows_no_part_of_it() -> None:
    text = cut("a long line hunter2-and-more", 22)
    assert text.startswith("a long line hunter2-an …")
    assert body(REDACTOR.records([line(text)])[0])[3] == "a long line [secret plain] … [cut, 28 bytes in all]"
    row: ProcessRow = {"pid": 1, "parent": 0, "command": "curl -u hunter2-an", "memory_bytes": 0, "cpu_seconds": 0.0}
    assert REDACTOR.processes([row]) == [{**row, "command": "curl -u [secret plain]"}]
    inside = "KeyError: hunter2-an\n … [cut, 300000 characters in all] … \nand-more"
    assert REDACTOR.cut_text("Sending hunter2-an…") == "Sending [secret plain]…"
    assert REDACTOR.cut_text(inside) == (
        "KeyError: [secret plain]\n … [cut, 300000 characters in all] … \n[secret plain]"
    )


def test_an_unreadable_record_shows_no_secret_either() -> None:
    broken = b"L[1, " + SECRET.encode() + b", hunter2-and-more"
    [found] = REDACTOR.records([broken])
    assert b"hunter2" not in found
    assert SECRET.encode() not in found


@given(st.text(min_size=6, max_size=40), st.text(max_size=30), st.text(max_size=30))
def test_no_text_around_a_secret_hides_it(secret: str, before: str, after: str) -> None:
    try:
        told = line(before + secret + after, {"v": [before + secret]})
    except UnicodeEncodeError:
        return
    [found] = Redactor([("k", secret)]).records([told])
    assert secret not in str(body(found)[3]).replace("[secret k]", "\0") or secret in "[secret k]"
    assert msgspec.json.decode(found[1:])


def test_a_hostile_secret_and_output_take_linear_time() -> None:
    redactor = Redactor([("a", "a" * 5000 + "b"), ("b", "ab" * 2000)])
    told = [line("a" * 60_000), line("ab" * 30_000 + "a"), line("a" * 4999)]
    assert len(redactor.records(told)) == 3
