"""Secrets of stored configurations: marked in the database, and encrypted if ATHANOR_SECRETS_KEY is set.

In memory, a stored secret is a `StoredSecret`, and an encrypted one a `Sealed`. In the JSON of the database both are
texts with a mark. Any other text that begins with a mark gets a mark of its own, so that it is read back unchanged. A
sealed secret is opened where a configuration is validated, and in the worker that starts its run; pages never open it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models

from experiments import references

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

Path = tuple[str | int, ...]

_ANY = "athanor:"
SEALED, PLAIN, TEXT = "athanor:sealed:", "athanor:plain:", "athanor:text:"


_OTHER_NAME = object()


class StoredSecret(str):
    """Stored secret, unencrypted if there is no key."""

    __slots__ = ()


class Sealed(StoredSecret):
    """Encrypted secret. Its text is a mark and a token; equal secrets have different tokens."""

    __slots__ = ()


class Unreadable(Exception):
    """A stored secret cannot be decrypted. `path`: its place in the configuration."""

    def __init__(self, path: Path) -> None:
        self.path = ".".join(map(str, path))
        self.reason = (
            "No key in ATHANOR_SECRETS_KEY of this process decrypts this secret. Set the key that encrypted it, or"
            " enter the secret again."
        )
        super().__init__(f"{self.path}: {self.reason}")


class InvalidKey(ValueError):
    """ATHANOR_SECRETS_KEY is not a list of Fernet keys."""


def cipher() -> MultiFernet | None:
    """Return the cipher of this process: the first key encrypts, all decrypt. None without keys. Raises InvalidKey."""
    return _cipher(str(getattr(settings, "ATHANOR_SECRETS_KEY", "") or ""))


@lru_cache(maxsize=4)
def _cipher(keys: str) -> MultiFernet | None:
    parts = [part.strip() for part in keys.split(",") if part.strip()]
    if not parts:
        return None
    from cryptography.fernet import Fernet, MultiFernet  # loaded by processes that have a key

    try:
        return MultiFernet([Fernet(part) for part in parts])
    except ValueError as error:
        raise InvalidKey(
            "ATHANOR_SECRETS_KEY needs one or more Fernet keys, separated by commas: 32 bytes each, as URL-safe base64."
        ) from error


def sealed(configuration: Any, paths: Sequence[Sequence[str | int]]) -> Any:
    """Return a configuration with the secrets at `paths` marked, and encrypted if this process has a key."""
    for path in paths:
        configuration = _changed(configuration, tuple(path), _seal)
    return configuration


def sealed_like(values: Any, order: Any) -> Any:
    """Return `values` with each secret of the sealed configuration `order`, which was made from them."""
    secrets = {str(opened(secret)): secret for _, secret in secrets_in(order)}
    return _sealed_like(values, order, secrets) if secrets else values


def _sealed_like(values: Any, order: Any, secrets: Mapping[str, StoredSecret]) -> Any:
    if isinstance(order, StoredSecret) and values is not None:
        return values if isinstance(values, StoredSecret) else order
    if isinstance(values, Mapping) and isinstance(order, Mapping):
        return {key: _sealed_like(item, order.get(key, _OTHER_NAME), secrets) for key, item in values.items()}
    if isinstance(values, list) and isinstance(order, list) and len(values) == len(order):
        return [_sealed_like(item, other, secrets) for item, other in zip(values, order, strict=True)]
    if order is _OTHER_NAME:  # the order has the field under its name, not its alias
        if isinstance(values, str):
            return secrets.get(values, values)
        return mapped(values, (), lambda item, _: _sealed_like(item, _OTHER_NAME, secrets))
    return values


def opened(value: Any, path: Path = ()) -> Any:
    """Return a configuration with its sealed secrets in clear. Raises Unreadable."""
    if isinstance(value, Sealed):
        return open_one(value, path)
    if isinstance(value, StoredSecret):
        return str(value)
    return mapped(value, path, opened) if _is_any(value, _is_stored) else value


def hidden(value: Any, mask: str) -> Any:
    """Return a configuration with each sealed secret replaced by the mask."""
    return mask if isinstance(value, Sealed) else mapped(value, (), lambda item, _: hidden(item, mask))


def with_marks(shown: Any, stored: Any, mask: str) -> Any:
    """Return a stored configuration as pages show it: marked secrets are masked, references are not."""
    if isinstance(stored, StoredSecret):
        return str(stored) if references.is_reference(stored) else mask
    if isinstance(shown, dict) and isinstance(stored, Mapping):
        return {key: with_marks(item, stored.get(key), mask) for key, item in shown.items()}
    if isinstance(shown, list) and isinstance(stored, list) and len(shown) == len(stored):
        return [with_marks(item, other, mask) for item, other in zip(shown, stored, strict=True)]
    return shown


def secrets_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, StoredSecret]]:
    """Yield the path of each marked secret, and the secret as it is stored."""
    if isinstance(value, StoredSecret):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from secrets_in(item, (*path, index))


def open_one(secret: Sealed, path: Path) -> Any:
    """Decrypt one secret. Raises Unreadable."""
    from cryptography.fernet import InvalidToken

    try:
        keys = cipher()
        if keys is None:
            raise Unreadable(path)
        return json.loads(keys.decrypt(secret.removeprefix(SEALED).encode()))
    except (InvalidToken, InvalidKey, ValueError) as error:
        raise Unreadable(path) from error


def rotated(secret: Any) -> Any:
    """Encrypt a secret with the first key; return the same object if it already is. Raises Unreadable, InvalidKey."""
    if not isinstance(secret, Sealed):
        return _seal(secret)
    from cryptography.fernet import Fernet, InvalidToken

    first = str(settings.ATHANOR_SECRETS_KEY).split(",", maxsplit=1)[0].strip()
    token = secret.removeprefix(SEALED).encode()
    try:
        Fernet(first).decrypt(token)
    except InvalidToken:
        return _seal(open_one(secret, ()))
    return secret


def _seal(secret: Any) -> Any:
    if isinstance(secret, Sealed):
        return secret
    is_named = isinstance(secret, str) and references.is_reference(secret)
    if not is_named and (keys := cipher()) is not None:
        text = json.dumps(str(secret) if isinstance(secret, str) else secret)
        return Sealed(SEALED + keys.encrypt(text.encode()).decode())
    return StoredSecret(secret) if type(secret) is str else secret


def _changed(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copied = list(value) if isinstance(value, list) else dict(value)
    copied[path[0]] = _changed(value[path[0]], path[1:], change)  # type: ignore[index]  # an index or a key
    return copied


def mapped(value: Any, path: Path, change: Callable[[Any, Path], Any]) -> Any:
    """Return a value with `change(item, path)` for each item that it directly contains."""
    if isinstance(value, dict):
        return {key: change(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [change(item, (*path, index)) for index, item in enumerate(value)]
    return value


class ConfigurationField(models.JSONField):
    """JSON whose secrets are marked in the database. A JSONField for migrations: the column is the same."""

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return super().get_db_prep_value(_marked(value), connection, prepared)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        decoded = super().from_db_value(value, expression, connection)
        return _unmarked(decoded) if isinstance(value, str) and _ANY in value else decoded

    def value_to_string(self, obj: Any) -> Any:
        return _marked(self.value_from_object(obj))


def _is_any(value: Any, test: Callable[[Any], bool]) -> bool:
    """Return whether a text in a JSON value passes the test. Most configurations have none: this is the fast path."""
    kind = type(value)
    if kind is dict or kind is list:
        for item in value.values() if kind is dict else value:  # noqa: SIM110  # any() takes twice as long
            if _is_any(item, test):
                return True
        return False
    return test(value)


def _is_stored(value: Any) -> bool:
    return isinstance(value, StoredSecret)


def _needs_mark(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith(_ANY) or isinstance(value, StoredSecret))


def _marked(value: Any) -> Any:
    if not _is_any(value, _needs_mark):
        return value
    if isinstance(value, str):
        if isinstance(value, Sealed):
            return str(value)
        if isinstance(value, StoredSecret):
            return PLAIN + value
        return TEXT + value if value.startswith((SEALED, PLAIN, TEXT)) else value
    return mapped(value, (), lambda item, _: _marked(item))


def _unmarked(value: Any) -> Any:
    if isinstance(value, str):
        if value.startswith(SEALED):
            return Sealed(value)
        if value.startswith(PLAIN):
            return StoredSecret(value.removeprefix(PLAIN))
        return value.removeprefix(TEXT)
    return mapped(value, (), lambda item, _: _unmarked(item))
