"""System checks of a production site: one error for each setting that makes it unsafe. Stable ids, each with a hint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core import checks

SECRET_KEY_MIN_CHARS, SECRET_KEY_MIN_DISTINCT = 32, 8
PASSWORD_MIN_CHARS, PASSWORD_MIN_DISTINCT = 12, 6
PROXIES_MIN_BITS = 8
"""Shortest prefix of a network of trusted proxies. A wider one is not a network of proxies."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """Setting that makes a site unsafe."""

    id: str
    find: Callable[[], str]
    """Return a sentence about the weakness; empty if there is none."""
    hint: str


def _debug() -> str:
    return "ATHANOR_DEBUG is 1: error pages show code, settings and data." if settings.DEBUG else ""


def _secret_key() -> str:
    is_weak = _is_guessable(str(settings.SECRET_KEY), SECRET_KEY_MIN_CHARS, SECRET_KEY_MIN_DISTINCT)
    return "ATHANOR_SECRET_KEY can be guessed: sessions could be forged." if is_weak else ""


def _any_host() -> str:
    return "ATHANOR_ALLOWED_HOSTS allows any host name." if "*" in settings.ALLOWED_HOSTS else ""


def _no_host() -> str:
    if all(_is_this_machine(host) for host in settings.ALLOWED_HOSTS):
        return "ATHANOR_ALLOWED_HOSTS names only this machine: nobody else can use the site."
    return ""


def _origins() -> str:
    origins = [urlsplit(origin) for origin in settings.CSRF_TRUSTED_ORIGINS]
    weak = [each.geturl() for each in origins if each.scheme != "https" or each.netloc in ("", "*")]
    return f"ATHANOR_TRUSTED_ORIGINS accepts forms of {', '.join(weak)}, which anyone can send." if weak else ""


def _url() -> str:
    parts = urlsplit(settings.SITE_URL)
    if parts.scheme == "https" and parts.netloc:
        return ""
    return f"ATHANOR_URL is {settings.SITE_URL or 'not set'}: links to the site do not use https."


def _no_proxies() -> str:
    if settings.TRUSTED_PROXIES:
        return ""
    return (
        "ATHANOR_TRUSTED_PROXIES names no proxy: no request counts as https, and the audit log has proxies' addresses."
    )


def _wide_proxies() -> str:
    wide = [name for name in settings.TRUSTED_PROXIES if ip_network(name).prefixlen < PROXIES_MIN_BITS]
    return f"ATHANOR_TRUSTED_PROXIES trusts {', '.join(wide)}: clients choose their own address." if wide else ""


def _redis() -> str:
    parts = urlsplit(settings.REDIS_URL)
    if parts.scheme not in ("redis", "rediss"):
        return ""
    if not parts.password:
        return "The Redis at ATHANOR_REDIS_URL has no password: anyone who can reach its port can change what runs."
    return "The password of Redis in ATHANOR_REDIS_URL can be guessed." if _is_weak_password(parts.password) else ""


def _database() -> str:
    password = str(settings.DATABASES["default"].get("PASSWORD") or "")
    is_weak = password and _is_weak_password(password)
    return "The password of the database in ATHANOR_DATABASE_URL can be guessed." if is_weak else ""


WEAKNESSES = (
    Weakness("athanor.E001", _debug, "Unset ATHANOR_DEBUG, or ATHANOR_PRODUCTION where nobody else reaches the site."),
    Weakness(
        "athanor.E002",
        _secret_key,
        f"Use {SECRET_KEY_MIN_CHARS} or more random characters, as from `openssl rand -base64 48`.",
    ),
    Weakness("athanor.E003", _any_host, "Name the hosts of the site, separated by commas."),
    Weakness("athanor.E004", _no_host, "Name the hosts of the site, for example lab.example.org, separated by commas."),
    Weakness("athanor.E005", _origins, "Name origins like https://lab.example.org, or leave it empty behind a proxy."),
    Weakness("athanor.E006", _url, "Set it to the public address of the site, for example https://lab.example.org."),
    Weakness(
        "athanor.E007",
        _no_proxies,
        "Name the proxies that serve the site over https by address or network, 127.0.0.1 for one on this machine.",
    ),
    Weakness("athanor.E008", _wide_proxies, "Name the addresses of the proxies, or the network that has only them."),
    Weakness(
        "athanor.E009",
        _redis,
        "Set a password (`requirepass`), and put it into the URL: redis://:PASSWORD@host:6379/0.",
    ),
    Weakness(
        "athanor.E011",
        _database,
        f"Use {PASSWORD_MIN_CHARS} or more random characters, as from `openssl rand -hex 24`.",
    ),
)


@checks.register(checks.Tags.security)
def check_production(**_: Any) -> list[checks.CheckMessage]:
    """Return an error for each setting that makes a site unsafe, if ATHANOR_PRODUCTION is 1."""
    if not settings.PRODUCTION:
        return []
    found = [(weakness, weakness.find()) for weakness in WEAKNESSES]
    return [checks.Error(text, hint=weakness.hint, id=weakness.id) for weakness, text in found if text]


def _is_weak_password(password: str) -> bool:
    return _is_guessable(unquote(password), PASSWORD_MIN_CHARS, PASSWORD_MIN_DISTINCT)


def _is_guessable(text: str, min_chars: int, min_distinct: int) -> bool:
    return len(text) < min_chars or len(set(text)) < min_distinct


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
