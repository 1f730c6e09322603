"""Django settings of Athanor. Values that differ between installations come from the environment, see `.env.example`.

ATHANOR_ROLE=child is the process of an experiment: it gets no database, no Redis and no secret of Athanor.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.templatetags.static import static
from django.utils.functional import SimpleLazyObject

from athanor import addresses, databases, logs, navigation
from athanor.login import oidc_settings, two_factor_settings

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("ATHANOR_VAR") or BASE_DIR / "var").absolute()
IS_CHILD = os.environ.get("ATHANOR_ROLE") == "child"
PRODUCTION = addresses.switch(os.environ, "ATHANOR_PRODUCTION")

# Created on first use, so that a command that only reads creates no folder.
SECRET_KEY = SimpleLazyObject(lambda: databases.secret_key(VAR, os.environ, is_child=IS_CHILD))
ATHANOR_SECRETS_KEY = "" if IS_CHILD else os.environ.get("ATHANOR_SECRETS_KEY", "")
SITE_URL = os.environ.get("ATHANOR_URL", "").rstrip("/")
DEBUG = addresses.switch(os.environ, "ATHANOR_DEBUG")
ALLOWED_HOSTS = addresses.listed(os.environ.get("ATHANOR_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]"))
CSRF_TRUSTED_ORIGINS = addresses.listed(os.environ.get("ATHANOR_TRUSTED_ORIGINS", ""))
TRUSTED_PROXIES = addresses.networks(os.environ.get("ATHANOR_TRUSTED_PROXIES", ""))

OIDC = not IS_CHILD and oidc_settings.is_on(os.environ)  # single sign-on
OIDC_ORIGIN = oidc_settings.origin(os.environ) if OIDC else ""
OIDC_NAME = os.environ.get("ATHANOR_OIDC_NAME") or "single sign-on"
OIDC_GROUP = os.environ.get("ATHANOR_OIDC_GROUP", "")
if OIDC:
    globals().update(oidc_settings.settings(os.environ))
TWO_FACTOR = "off" if IS_CHILD else two_factor_settings.mode(os.environ)
if TWO_FACTOR != "off":
    globals().update(two_factor_settings.SETTINGS)
SIGN_IN_APPS = [*(oidc_settings.APPS if OIDC else []), *(two_factor_settings.APPS if TWO_FACTOR != "off" else [])]

# Of no use to an experiment, whose process would load Celery and the admin with them.
SITE_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "athanor.admin_app.AdminConfig",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_results",
    "axes",
    *dict.fromkeys(SIGN_IN_APPS),
]
INSTALLED_APPS = [
    *([] if IS_CHILD else SITE_APPS),
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "experiments",
    "runs",
    "athanor",
    *[app for app in os.environ.get("ATHANOR_APPS", "").split(",") if app],
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "athanor.middleware.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "athanor.acting.Acting",
    "django.contrib.messages.middleware.MessageMiddleware",
    "athanor.middleware.SessionLife",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "athanor.middleware.InvalidPages",
    "athanor.query_limits.QueryLimit",
    "athanor.login.throttle.LockedOut",
    *(oidc_settings.MIDDLEWARE if SIGN_IN_APPS else []),
    *(["athanor.login.two_factor.OnlySetUp"] if TWO_FACTOR != "off" else []),
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "athanor" / "templates"],  # overrides templates of apps
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "athanor.urls"
ASGI_APPLICATION = "athanor.asgi.application"

DATABASES: dict[str, dict[str, Any]] = {"default": databases.configuration(VAR, os.environ, is_child=IS_CHILD)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Counting of failed logins; its limits are in athanor/conf.py.
AXES_HANDLER = "athanor.login.throttle.Handler"
AXES_CLIENT_IP_CALLABLE = "athanor.login.throttle.client_address"
AXES_USERNAME_CALLABLE = "athanor.login.throttle.client_name"
AXES_FAILURE_LIMIT = "athanor.login.throttle.failures_max"
AXES_COOLOFF_TIME = "athanor.login.throttle.cool_off"
SILENCED_SYSTEM_CHECKS = ["axes.W002"]  # LockedOut replaces the middleware of axes
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "password", "otp", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
REDIS_URL = "" if IS_CHILD else databases.redis_url(VAR, os.environ)

USE_TZ = True
TIME_ZONE = os.environ.get("ATHANOR_TIME_ZONE", "UTC")
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "athanor.formats"

STATIC_URL = "static/"
LOGIN_URL = "admin:login"

LOGGING = logs.configuration(
    os.environ.get("ATHANOR_LOG_LEVEL", "INFO").upper(),
    audit="" if IS_CHILD else os.environ.get("ATHANOR_AUDIT_LOG", ""),
)

X_FRAME_OPTIONS = "DENY"
if PRODUCTION:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 30 * 24 * 3600
    SECURE_SSL_REDIRECT = True
    # includeSubDomains and preload affect other sites of the domain; they are up to the operator.
    SILENCED_SYSTEM_CHECKS += ["security.W005", "security.W021"]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Athanor",
    "SITE_HEADER": "Athanor",
    "SITE_SYMBOL": "local_fire_department",
    "LOGIN": {"form": "athanor.login.form.LoginForm"},
    "ACCOUNT": {"navigation": navigation.account(has_two_factor=TWO_FACTOR != "off")},
    "DASHBOARD_CALLBACK": "runs.admin.home.context",
    "STYLES": [lambda _request: static("runs/noscript.css"), lambda _request: static("runs/site.css")],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/favicon.ico"}],
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {
                "title": "Experiments",
                "items": [
                    navigation.item("Runs", "play_circle", "runs", "run"),
                    navigation.item("Instances", "science", "experiments", "instance"),
                    navigation.item("Schedules", "schedule", "runs", "schedule"),
                    navigation.item("Workers", "memory", "runs", "worker"),
                ],
            },
            {
                "title": "People",
                "collapsible": True,
                "items": [
                    navigation.item("Users", "person", "auth", "user"),
                    navigation.item("Groups", "group", "auth", "group"),
                    navigation.item("Access rules", "key", "runs", "accessrule"),
                    navigation.item("Audit log", "policy", "runs", "auditentry"),
                    navigation.item("Failed logins", "lock_person", "axes", "accessattempt"),
                ],
            },
        ],
    },
}

ATHANOR_RUNS: dict[str, Any] = {"var": VAR}
