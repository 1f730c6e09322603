"""Athanor's settings for the tests; `tests/conftest.py` says by the environment which database and Redis they use."""

from athanor.settings import *  # noqa: F403
from athanor.settings import BASE_DIR, DATABASES

# The ground is thrown away after the session, so the test database is the very one that ATHANOR_DATABASE_URL names, and
# processes that a test starts find it there.
DATABASES["default"]["TEST"] = {"NAME": str(DATABASES["default"].get("NAME", ""))}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ATHANOR_EXPERIMENT_PATHS = [BASE_DIR / "tests" / "scripted"]
