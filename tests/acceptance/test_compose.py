"""docker-compose.yml without a container engine: its form, its references, and its very commands as local processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from ruamel.yaml import YAML

from athanor import environment
from athanor.up.roles import worker_command
from tests.conftest import miss
from tests.servers import PostgresServer, RedisServer, ServerMissing, free_port, postgres_folder, redis_binary
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
INNERMOST = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^${}]*))?\}")
SECRETS = {"POSTGRES_PASSWORD": "secret", "REDIS_PASSWORD": "redis-secret", "ATHANOR_SECRET_KEY": "key"}
CELERY_ROLES = ("system", "runs", "beat")


def interpolated(text: str, values: dict[str, str]) -> str:
    """`text` with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` filled in, the inner ones first."""

    def fill(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        if operator == ":?" and not values.get(name):
            raise KeyError(f"{name}: {word}")
        return values.get(name) or (word if operator == ":-" else "")

    while (filled := INNERMOST.sub(fill, text)) != text:
        text = filled
    return text


def compose(**values: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(interpolated((ROOT / "docker-compose.yml").read_text(), values))
    return loaded


def words(service: dict[str, Any]) -> list[str]:
    return shlex.split(service["command"])


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose(**SECRETS)["services"]
    return found


def test_the_file_fits_the_compose_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_variable_is_in_the_example_file() -> None:
    used = {match[1] for match in re.finditer(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())}
    offered = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert used <= offered


def test_the_example_file_names_nothing_that_is_read_nowhere() -> None:
    offered = re.findall(r"^#?(ATHANOR_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert environment.unknown_names(dict.fromkeys(offered, "")) == {}


def test_containers_are_given_no_variable_that_is_read_nowhere(services: dict[str, Any]) -> None:
    given = {name for service in services.values() for name in service.get("environment", {})}

    assert environment.unknown_names(dict.fromkeys(given, "")) == {}


ATHANORS = ("web", "runs", "system", "beat", "migrate")


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("name", "owners"),
    [
        ("POSTGRES_PASSWORD", ("postgres",)),
        ("REDIS_PASSWORD", ("redis",)),
        ("ATHANOR_DATABASE_URL", ATHANORS),
        ("ATHANOR_SECRET_KEY", ("web", "runs", "system", "beat")),
        ("ATHANOR_SECRETS_KEY", ("web", "runs", "system", "beat")),
        ("ATHANOR_REDIS_URL", ("web", "runs", "system", "beat")),
        ("ATHANOR_ALLOWED_HOSTS", ("web",)),
        ("ATHANOR_TRUSTED_PROXIES", ("web",)),
        ("ATHANOR_DEBUG", ("web",)),
        ("ATHANOR_PRODUCTION", ("web", "runs", "system", "beat")),
    ],
)
def test_each_service_gets_only_what_is_its_own(services: dict[str, Any], name: str, owners: tuple[str, ...]) -> None:
    assert {service for service in services if name in services[service].get("environment", {})} == set(owners)


@pytest.mark.any_database
def test_the_file_with_passwords_is_given_to_no_container(services: dict[str, Any]) -> None:
    files = {name: [file["path"] for file in service.get("env_file", [])] for name, service in services.items()}

    assert files.pop("runs") == ["settings.env", "experiments.env"]
    assert {path for paths in files.values() for path in paths} == {"settings.env"}


@pytest.mark.any_database
def test_the_site_is_published_on_this_machine_only(services: dict[str, Any]) -> None:
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert [name for name, service in services.items() if "ports" in service] == ["web"]


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "ATHANOR_SECRET_KEY"])
def test_without_a_password_it_refuses_to_start(name: str) -> None:
    with pytest.raises(KeyError, match=rf"{name}: set it in \.env"):
        compose(**{**SECRETS, name: ""})


def test_redis_answers_only_to_those_who_know_its_password(services: dict[str, Any], tmp_path: Path) -> None:
    service, port = services["redis"], free_port()
    try:
        (tmp_path / "redis-server").symlink_to(redis_binary())
    except ServerMissing as missing:
        miss(missing)
    *shell, script = (word.replace("$$", "$") for word in service["command"])
    script = script.replace("--save", f"--port {port} --dir {tmp_path} --save")
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **service["environment"]}
    with subprocess.Popen([*shell, script], env=environ, stdout=subprocess.DEVNULL) as server:
        try:
            with redis.Redis("127.0.0.1", port, password="redis-secret") as client:
                wait_until(lambda: answers(client), timeout_s=10, what="Redis to answer")
            once = Retry(NoBackoff(), 0)
            with redis.Redis("127.0.0.1", port, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
            assert "redis-secret" not in " ".join(psutil.Process(server.pid).cmdline())
        finally:
            server.terminate()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_each_dependency_and_volume_is_defined(services: dict[str, Any]) -> None:
    volumes = compose(**SECRETS)["volumes"]

    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert {mount.partition(":")[0] for mount in service.get("volumes", [])} <= set(volumes)


def test_all_but_the_migration_have_a_health_check(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "healthcheck" not in service] == ["migrate"]


def test_the_image_holds_what_the_commands_need() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))

    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert name in sent
    assert {"manage.py", "athanor", "runs", "experiments"} <= sent


@pytest.mark.parametrize("name", ["system", "runs"])
def test_workers_are_started_as_up_starts_them(services: dict[str, Any], name: str) -> None:
    ours = worker_command(name, name, 4)

    assert words(services[name])[1:] == list(ours[2:])


class Containers:
    """Services of the file as local processes: same commands, same environment, other addresses."""

    def __init__(self, folder: Path, services: dict[str, Any], values: dict[str, str]) -> None:
        self.folder, self.services, self.values = folder, services, values
        self.port = free_port()

    def environ(self, name: str) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("ATHANOR_", "DJANGO_"))}
        given = {key: str(value) for key, value in self.services[name]["environment"].items() if value is not None}
        moved = {"ATHANOR_VAR": str(self.folder / "var"), "ATHANOR_READY_FILE": str(self.folder / f"{name}.ready")}
        return {**clean, **given, **moved}

    def command(self, name: str, *more: str) -> list[str]:
        program, *rest = words(self.services[name])
        return [sys.executable if program == "python" else program, *rest, *more]

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command(name, *more),
                cwd=ROOT,
                env=self.environ(name),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_healthy(self, name: str) -> bool:
        """Run the health check of the service."""
        test = self.services[name]["healthcheck"]["test"][1:]
        places = {"/tmp/ready": str(self.folder / f"{name}.ready"), "python": sys.executable}
        moved = [places.get(word, word.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")) for word in test]
        return subprocess.run(moved, capture_output=True, check=False).returncode == 0

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm web python manage.py ...`"""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environ("web"), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip


@pytest.fixture
def containers(short_folder: Path) -> Iterator[Containers]:
    """Start all services of the file, with a separate PostgreSQL and Redis."""
    try:
        postgres_folder()
    except ServerMissing as missing:
        miss(missing)
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(short_folder / "postgres"))
        redis = stack.enter_context(RedisServer(short_folder / "redis"))
        values = {
            **SECRETS,
            "ATHANOR_DATABASE_URL": postgres.url("postgres"),
            "ATHANOR_REDIS_URL": redis.url,
        }
        there = Containers(short_folder, compose(**values)["services"], values)
        assert there.start("migrate").wait(60) == 0
        for name in CELERY_ROLES:
            stack.callback(end, there.start(name))
        stack.callback(end, there.start("web", "--host", "127.0.0.1", "--port", str(there.port)))
        for name in (*CELERY_ROLES, "web"):
            wait_until(lambda name=name: there.is_healthy(name), timeout_s=60, what=f"{name} to be healthy")  # type: ignore[misc]
        yield there


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.mark.acceptance
def test_a_run_is_launched_watched_and_cancelled_through_the_files_own_commands(containers: Containers) -> None:
    launched = containers.manage("launch_run", "monte_carlo_pi", "-c", "batches=10000", "--json")
    run_id = str(json.loads(launched.stdout)["id"])

    def shown() -> Any:
        return json.loads(containers.manage("show_run", run_id, "--json").stdout)

    wait_until(lambda: shown()["lines"]["stored"] > 0, timeout_s=30, every_s=0.5, what="the first line to be stored")
    tail = containers.manage("tail_run", run_id, "--json").stdout.splitlines()
    cancelled = containers.manage("cancel_run", run_id, "--wait")

    assert json.loads(tail[0])["seq"] == 1
    assert cancelled.returncode == 0, cancelled.stderr
    run = shown()
    assert run["status"] == "cancelled"
    assert run["lines"]["stored"] == run["lines"]["emitted"]
