"""Settings of single sign-on by OpenID Connect, from the environment. Imports nothing of the optional package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

PROVIDER_ID = "sso"
NEEDED = ("ATHANOR_OIDC_ISSUER", "ATHANOR_OIDC_CLIENT_ID", "ATHANOR_OIDC_CLIENT_SECRET")
APPS = ["allauth", "allauth.account", "allauth.socialaccount", "allauth.socialaccount.providers.openid_connect"]
MIDDLEWARE = ["allauth.account.middleware.AccountMiddleware"]
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def problems(environ: Mapping[str, str]) -> list[str]:
    """Return why a configured sign-on does not work; empty if it works or is not configured."""
    if not any(name.startswith("ATHANOR_OIDC_") and value for name, value in environ.items()):
        return []
    missing = [name for name in NEEDED if not environ.get(name)]
    texts = [f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set."] if missing else []
    issuer = urlsplit(environ.get("ATHANOR_OIDC_ISSUER", ""))
    if issuer.scheme != "https" and not (issuer.scheme == "http" and issuer.hostname in LOCAL_HOSTS) and not missing:
        texts.append("ATHANOR_OIDC_ISSUER is not an https:// address.")
    if find_spec("allauth") is None:
        texts.append("The package django-allauth is not installed.")
    return texts


def is_on(environ: Mapping[str, str]) -> bool:
    return bool(environ.get(NEEDED[0])) and not problems(environ)


def origin(environ: Mapping[str, str]) -> str:
    """Return the origin of the provider, to which the form of the login page redirects."""
    issuer = urlsplit(environ[NEEDED[0]])
    return f"{issuer.scheme}://{issuer.netloc}"


def settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the Django settings of the package: one provider; no passwords, e-mails or pages of the package."""
    app = {
        "provider_id": PROVIDER_ID,
        "name": "OpenID Connect",
        "client_id": environ["ATHANOR_OIDC_CLIENT_ID"],
        "secret": environ["ATHANOR_OIDC_CLIENT_SECRET"],
        "settings": {"server_url": environ["ATHANOR_OIDC_ISSUER"], "oauth_pkce_enabled": True},
    }
    return {
        "SOCIALACCOUNT_PROVIDERS": {"openid_connect": {"APPS": [app]}},
        "SOCIALACCOUNT_ADAPTER": "athanor.login.oidc.Accounts",
        "ACCOUNT_ADAPTER": "athanor.login.oidc.Logins",
        "SOCIALACCOUNT_EMAIL_AUTHENTICATION": False,
        "ACCOUNT_EMAIL_VERIFICATION": "none",
        "ACCOUNT_UNIQUE_EMAIL": False,
    }
