"""Redaction of the secrets of a run in its output. Pure.

Each secret is searched as it is, and as JSON, Python, URLs and base64 encode it; of a multi-line secret, also each
line. Searching is linear: a few substring searches over each batch, and a full search of records with a hit. A run
without secrets has no Redactor.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from runs.lines.records import LINE, RESULT
from runs.outcomes import ProcessRow

SECRET_MIN_CHARS = 6
"""Shorter secrets are not redacted: most lines would become unreadable."""
LINE_MIN_CHARS = 12
"""Shortest line of a multi-line secret that is redacted by itself."""
ENCODED_MIN_CHARS = 8
ENDS_MAX_CHARS = 512
"""Longest part of a secret that is recognized at the end or the beginning of a line."""
NAME_MAX_CHARS = 60
SECRETS_MAX = 256
"""Number of redacted secrets of a run, and lines of secrets: each is searched for in all output."""

_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CUT = re.compile(r" … \[cut, \d+ bytes in all\]\Z")
"""Mark of runs.lines.folding.cut."""
_CUT_INSIDE = re.compile(r"(\n … \[cut, \d+ characters in all\] … \n|…\Z)")
"""Marks of runs.child.endings within a long traceback, and of experiments.arguments at the end of a long message."""
_REDACTED_FIELDS: dict[int, tuple[int, ...]] = {LINE: (3, 4), RESULT: (2, 4)}
"""Kind of a record → places of its texts: message and metadata, key and value."""


class Redactor:
    """Replace the secrets of one run by their names."""

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        """Take (name, secret); short secrets are left out."""
        self._marks: dict[str, str] = {}
        self._wholes: dict[str, str] = {}
        self.left_out = 0
        """Number of secrets and lines of secrets beyond the limit."""
        for name, secret in secrets:
            mark = f"[secret {re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:NAME_MAX_CHARS]}]"
            for whole in _wholes(secret):
                if len(self._wholes) >= SECRETS_MAX and whole not in self._wholes:
                    self.left_out += 1
                    continue
                self._wholes.setdefault(whole, mark)
                for form in _forms(whole):
                    self._marks.setdefault(form, mark)
        parts = {part for whole in self._wholes for part in (whole[: _part(whole)], whole[-_part(whole) :])}
        self._needles = tuple({needle for form in (*self._marks, *parts) for needle in _in_json(form)})

    def __bool__(self) -> bool:
        return bool(self._marks)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """All forms, the longest first. Compiled at the first hit: most runs never print a secret."""
        return re.compile("|".join(map(re.escape, sorted(self._marks, key=len, reverse=True))) or r"(?!)")

    def records(self, records: Sequence[bytes]) -> Sequence[bytes]:
        """Return L or R records without secrets."""
        if not self._may_have(b"\n".join(records)):
            return records
        return [self._record(record) if self._may_have(record) else record for record in records]

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._pattern.sub(lambda match: self._marks[match[0]], text)

    def cut_text(self, text: str) -> str:
        """Return a text without secrets. It may have been cut within one."""
        return "".join(self._without_ends(self.text(part)) for part in _CUT_INSIDE.split(text))

    def processes(self, rows: Sequence[ProcessRow]) -> list[ProcessRow]:
        """Return processes without secrets in their command lines."""
        return [{**row, "command": self.cut_text(row["command"])} for row in rows]

    def value(self, value: Any) -> Any:
        """Return a JSON value without secrets in its texts."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def has(self, text: str) -> bool:
        return self._pattern.search(text) is not None

    def _may_have(self, data: bytes) -> bool:
        return any(needle in data for needle in self._needles)

    def _record(self, record: bytes) -> bytes:
        kind = record[0]
        try:
            fields: list[Any] = _RAW.decode(record[1:])
            for place in _REDACTED_FIELDS[kind]:
                fields[place] = msgspec.Raw(_TEXT.sub(self._json_text, bytes(fields[place])))
            if kind == LINE:
                message = json.loads(bytes(fields[3]))
                fields[3] = self._without_ends(message) if isinstance(message, str) else fields[3]
            return bytes((kind,)) + _encode(fields)
        except (ValueError, LookupError, msgspec.MsgspecError):  # shown as an unreadable record
            return self.text(record.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _json_text(self, match: re.Match[bytes]) -> bytes:
        """Redact one JSON string; texts without secrets keep their form."""
        text = json.loads(match[0])
        redacted = self.text(text)
        return match[0] if redacted == text else _encode(redacted)

    def _without_ends(self, line: str) -> str:
        """Redact the start of a secret at the end of a line, and the end of one at its start.

        A line may be cut, and unfinished text is shown before the rest is written.
        """
        if cut := _CUT.search(line):
            return self._without_ends(line[: cut.start()]) + cut[0]
        for whole, mark in self._wholes.items():
            part = _part(whole)
            if part == len(whole):
                continue
            start = max(0, len(line) - min(len(whole) - 1, ENDS_MAX_CHARS))
            while (start := line.find(whole[:part], start)) >= 0:
                if whole.startswith(line[start:]):
                    line = line[:start] + mark
                    break
                start += 1
            end = min(len(whole) - 1, ENDS_MAX_CHARS)
            while (index := line.rfind(whole[-part:], 0, end)) >= 0:
                if whole.endswith(line[: index + part]):
                    line = mark + line[index + part :]
                    break
                end = index + part - 1
        return line


def _part(whole: str) -> int:
    """Return the number of characters of a secret that are recognized without the others."""
    return max(SECRET_MIN_CHARS, -(-len(whole) // 4))


def _wholes(secret: str) -> Iterator[str]:
    """Yield the secret, and its lines if it has several. PEM headers (`-----BEGIN …`) are not secret."""
    if len(secret) >= SECRET_MIN_CHARS:
        yield secret
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= LINE_MIN_CHARS and not line.startswith("-----"))


def _forms(whole: str) -> Iterator[str]:
    """Yield the forms in which a secret may be written."""
    yield whole
    escaped = (json.dumps(whole)[1:-1], json.dumps(whole, ensure_ascii=False)[1:-1], repr(whole)[1:-1])
    yield from (*escaped, quote(whole, safe=""), quote(whole), quote_plus(whole))
    data = whole.encode("utf-8", "surrogatepass")
    for before in range(3):  # bytes before it, as in `user:password`
        encoded = base64.b64encode(b"\0" * before + data)
        whole_chars = encoded[(0, 2, 3)[before] : (before + len(data)) * 8 // 6].decode()
        if len(whole_chars) >= ENCODED_MIN_CHARS:
            yield whole_chars
            yield whole_chars.replace("+", "-").replace("/", "_")


def _in_json(text: str) -> Iterator[bytes]:
    """Yield the forms of a text within JSON."""
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
