"""Authentication codes of Athanor's data in Redis. Other programs that write to Redis cannot create them.

A code covers the run, the list, the attempt and the seqs of a block with its records, or the text of a notice: it is
not valid for another run or place. The keys are derived from the secret key, one for each purpose. The processes of
runs have neither.
"""

from __future__ import annotations

import hmac
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b

from django.conf import settings
from django.utils.crypto import salted_hmac

CODE_CHARS = 32
"""Size of a code: 128 bits in hexadecimal."""


class Purpose(StrEnum):
    """Use of a key. A code of one purpose is not valid for another."""

    BLOCKS = "blocks"
    NOTICES = "notices"


def make(purpose: Purpose, *parts: bytes) -> bytes:
    """Return the code of the concatenated parts."""
    return _make(_key(purpose, str(settings.SECRET_KEY)), parts)


def is_valid(code: bytes, purpose: Purpose, *parts: bytes) -> bool:
    """Return whether `code` was made of these parts, with the secret key or one of SECRET_KEY_FALLBACKS."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(hmac.compare_digest(_make(_key(purpose, str(secret)), parts), code) for secret in secrets)


def _make(key: bytes, parts: tuple[bytes, ...]) -> bytes:
    digest = blake2b(key=key, digest_size=CODE_CHARS // 2)
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


@lru_cache(maxsize=64)
def _key(purpose: Purpose, secret: str) -> bytes:
    return salted_hmac("athanor.redis", str(purpose), secret=secret, algorithm="sha256").digest()
