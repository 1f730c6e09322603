"""Parsing of text that people type."""

from __future__ import annotations

import io
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import parsing
from runs.lines.reading import Place


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5h", 5400), ("10m", 600), ("2d", 172800), ("5 s", 5)])
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parsing.seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 1 << 20), ("512M", 512 << 20), ("2GiB", 2 << 30), ("1kb", 1024)]
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parsing.size_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("epochs=20", ["epochs"], "20"),
        ("optimizer.rate=0.1", ["optimizer", "rate"], "0.1"),
        ("name=plain text = yes", ["name"], "plain text = yes"),
        ("name=", ["name"], ""),
    ],
)
def test_an_assignment_has_keys_and_a_text(text: str, keys: list[str], value: str) -> None:
    assert parsing.assignment(text) == (keys, value)


@pytest.mark.parametrize(
    ("content", "value"),
    [("hunter2\n", "hunter2"), ("a\nb\n\n", "a\nb\n"), ("", ""), (" é ", " é "), ("@x", "@x"), ("-", "-")],
)
def test_a_value_is_read_from_a_file(content: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(content)
    assert parsing.setting(f"llm.api_key=@{tmp_path}/key") == (["llm", "api_key"], value)


@pytest.mark.parametrize("value", ["@", "@/nowhere", "@\0", "@.", "@{tmp_path}/latin"])
def test_a_file_that_cannot_be_read_is_an_error(value: str, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(ArgumentTypeError, match=r"^key: cannot read the file .* needs double quotes"):
        parsing.setting(f"key={value.format(tmp_path=tmp_path)}")


def test_a_value_is_read_once_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2\n"))
    assert parsing.setting("key=-") == (["key"], "hunter2")
    with pytest.raises(ArgumentTypeError, match="can be read once"):
        parsing.setting("other=-")


@pytest.mark.parametrize("text", ["key=a@b", "key=--", 'key="@b"', "key="])
def test_other_values_are_taken_as_they_are(text: str) -> None:
    assert parsing.setting(text) == parsing.assignment(text)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (parsing.seconds, "soon", "10m or 2h"),
        (parsing.seconds, "0", "10m or 2h"),
        (parsing.seconds, "3 weeks", "10m or 2h"),
        (parsing.size_bytes, "big", "512M or 2G"),
        (parsing.assignment, "epochs", "KEY=VALUE"),
        (parsing.assignment, "a..b=1", "KEY=VALUE"),
        (parsing.level, "loud", "debug, info"),
        (parsing.place, "x", "2.500"),
        (parsing.place, "-4", "2.500"),
        (parsing.place, "1" * 40, "2.500"),
    ],
)
def test_what_cannot_be_read_is_told_what_would_be_right(read: Callable[[str], Any], text: str, says: str) -> None:
    with pytest.raises(ArgumentTypeError) as error:
        read(text)
    assert says in str(error.value)


def test_a_line_is_named_by_its_number_and_its_attempt() -> None:
    assert (parsing.place("500"), parsing.place("2.500")) == (Place(1, 500), Place(2, 500))


def test_later_settings_win_and_dotted_keys_nest() -> None:
    base = {"optimizer": {"name": "sgd"}, "epochs": 1}
    made = parsing.configuration(
        base, [parsing.assignment(text) for text in ("optimizer.rate=1", "epochs=2", "a.b.c=3")]
    )
    assert made == {"optimizer": {"name": "sgd", "rate": 1}, "epochs": 2, "a": {"b": {"c": 3}}}
    assert base == {"optimizer": {"name": "sgd"}, "epochs": 1}


@pytest.mark.parametrize(("name", "text"), [("c.json", '{"a": {"b": 1}}'), ("c.toml", "[a]\nb = 1\n")])
def test_a_configuration_file_is_json_or_toml(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert parsing.configuration(parsing.config_file(str(path)), []) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("c.json", "{", "not valid JSON"), ("c.toml", "=", "not valid TOML"), ("c.json", "[]", "object")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ArgumentTypeError, match=says):
        parsing.config_file(str(path))


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ArgumentTypeError, match=r"Cannot read .*: No such file"):
        parsing.config_file("/nowhere/c.json")
