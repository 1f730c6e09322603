"""A canary: a secret that an experiment says in every way appears in no place that Athanor fills."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from experiments.models import Instance
from experiments.registry import forget
from runs import services
from runs.models import Run
from runs.states import FailureKind, Status
from tests.servers import RedisServer
from tests.stack import Stack, ended
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance

SECRET = "canary-4f1c/9b+27e0d6a8"
BY_REFERENCE = "canary-by-reference-77d2"
KEY = Fernet.generate_key().decode()
EXPERIMENT = """
import base64, json, logging, os, subprocess, sys, time, urllib.parse, warnings
from pathlib import Path
from pydantic import BaseModel, SecretStr
from experiments import Experiment

class Canary(Experiment):
    class Config(BaseModel):
        key: SecretStr
        named: SecretStr = SecretStr("none")
        go: str

    def run(self, ctx):
        go = Path(ctx.config.go)
        for secret in (ctx.config.key.get_secret_value(), ctx.config.named.get_secret_value()):
            print(secret, repr(secret), json.dumps({"a": secret}), urllib.parse.quote(secret, safe=""))
            print(base64.b64encode(b"user:" + secret.encode()).decode(), file=sys.stderr)
            print("halves", secret[:9], end="", flush=True); time.sleep(0.4); print(secret[9:])
            os.write(1, b"raw " + secret[:9].encode()); time.sleep(0.1); os.write(1, secret[9:].encode() + b"\\n")
            subprocess.run(["cat"], input=secret.encode() + b"\\n", check=True)
            ctx.log.info(secret, token=secret, deep={secret: [secret]})
            logging.getLogger("lab").warning("it is %s", secret)
            warnings.warn(secret)
            ctx.metric(secret, 1.0); ctx.metric("loss", 0.5); ctx.result("r", {secret: secret})
            ctx.progress(1, 2, secret)
        ctx.artifact(b"x", secret + ".txt"); ctx.artifact(b"x", "fine.txt")
        ctx.log.info("said")
        while not go.exists():
            time.sleep(0.05)
        raise ValueError(secret + " and " + ctx.config.key.get_secret_value())
"""
FORMS: tuple[str, ...] = (SECRET, BY_REFERENCE, SECRET.replace("/", "%2F").replace("+", "%2B"))
FORMS += tuple(base64.b64encode(f"user:{text}".encode()).decode()[8:-4] for text in (SECRET, BY_REFERENCE))


def found_in(data: bytes | str) -> list[str]:
    """Return the forms of the secrets that are in the data."""
    data = data if isinstance(data, bytes) else data.encode()
    return [form for form in FORMS if form.encode() in data]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "canary.py").write_text(EXPERIMENT)
    (tmp_path / "named").write_text(BY_REFERENCE)
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(folder))
    forget()
    with override_settings(ATHANOR_SECRETS_KEY=KEY):
        yield tmp_path
    forget()


def database() -> str:
    """Return all rows of all tables."""
    rows: list[Any] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # a table of ours
            rows += cursor.fetchall()
    return repr([[bytes(v) if isinstance(v, memoryview) else v for v in row] for row in rows])


def in_redis(redis: RedisServer) -> bytes:
    """Return all keys and values; DUMP would compress them."""
    reads = {"list": ("LRANGE", 0, -1), "hash": ("HGETALL",), "set": ("SMEMBERS",), "zset": ("ZRANGE", 0, -1)}
    with redis.client() as client:
        kinds = {key: client.type(key).decode() for key in client.keys("*")}
        values = [(key, client.execute_command(*_read(reads.get(kind, ("GET",)), key))) for key, kind in kinds.items()]
    return repr(values).encode()


def _read(command: tuple[Any, ...], key: bytes) -> tuple[Any, ...]:
    return (command[0], key, *command[1:])


def of_processes(stack: Stack) -> bytes:
    """Return the command lines and environments of all processes of the stack, runs included."""
    paths = [Path(f"/proc/{process.pid}") for each in stack.processes for process in each.tree()]
    return b"".join((path / name).read_bytes() for path in paths for name in ("cmdline", "environ"))


def pages(run: Run, instance: Instance) -> Iterator[tuple[str, bytes]]:
    """Yield what each address says that has no argument or one."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("canary"))
    admin = next(each for each in get_resolver().url_patterns if isinstance(each, URLResolver))
    nested = [inner for each in admin.url_patterns if isinstance(each, URLResolver) for inner in each.url_patterns]
    names = [pattern.name or "" for pattern in (*admin.url_patterns, *nested) if isinstance(pattern, URLPattern)]
    for name in filter(None, names):
        for args in ([], [instance.pk if "instance" in name else run.pk]):
            try:
                url = reverse(f"admin:{name}", args=args)
            except NoReverseMatch:
                continue
            if "stream" not in name and "logout" not in name:
                answer: Any = client.get(url)
                yield url, b"".join(answer) if answer.streaming else answer.content
    yield "again", client.get(reverse("admin:runs_run_launch"), {"run": run.pk}).content


def commands(run: Run) -> str:
    out = io.StringIO()
    for arguments in (("show_run", run.pk, "--json"), ("show_run", run.pk), ("list_runs", "--json"),
                      ("tail_run", run.pk), ("export_results", run.pk)):  # fmt: skip
        try:
            call_command(*map(str, arguments), stdout=out, stderr=out)
        except SystemExit:
            continue
    return out.getvalue()


def test_a_secret_appears_nowhere(own_stack: Stack, module_redis: RedisServer, folder: Path) -> None:
    own_stack.environ |= {"ATHANOR_SECRETS_KEY": KEY, "ATHANOR_EXPERIMENTS_SECRET_FOLDERS": str(folder)}
    own_stack.worker()
    configuration = {"key": SECRET, "named": f"file:{folder}/named", "go": str(folder / "go")}
    instance = Instance.objects.create(name="canary-instance", experiment="canary", configuration=configuration)
    run = services.launch(instance)
    wait_until(lambda: b"said" in in_redis(module_redis), timeout_s=30, what="the canary to have said its secrets")
    assert found_in(in_redis(module_redis)) == []
    assert found_in(of_processes(own_stack)) == []
    assert found_in(database()) == []
    child = Path(f"/proc/{run.attempts.get().child_pid}/environ").read_bytes()
    assert (KEY.encode() in child, b"PATH=" in child) == (False, True)
    services.inspect(run.pk)
    (folder / "go").touch()
    run = ended(run)
    assert (run.status, run.failure_kind) == (Status.FAILED, FailureKind.ERROR)
    assert run.error == "ValueError: [secret named] and [secret key]"
    said = database()
    assert found_in(said) == []
    assert said.count("[secret key]") >= 10
    assert found_in(commands(run)) == []
    shown = list(pages(run, instance))
    assert [url for url, content in shown if found_in(content)] == []
    assert sum(b"[secret " in content or b"**********" in content for _, content in shown) >= 4
    logs = b"".join(process.log.read_bytes() for process in own_stack.processes)
    assert found_in(logs + in_redis(module_redis)) == []
    assert [artifact.name for artifact in run.artifacts.all()][-1] == "fine.txt"

    with override_settings(ATHANOR_SECRETS_KEY=Fernet.generate_key().decode()):
        other = ended(services.launch("canary", configuration=configuration))
    assert (other.failure_kind, other.attempt) == (FailureKind.START, 1)
    assert "configuration.key: No key in ATHANOR_SECRETS_KEY" in other.error
    assert json.dumps(Run.objects.get(pk=other.pk).configuration).count("athanor:sealed:") == 1
