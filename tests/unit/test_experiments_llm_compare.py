"""Comparing two models, against a real HTTP server of the tests that speaks as OpenAI's does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from experiments import ExperimentFailed, RunCancelled
from experiments.conf import experiments_settings
from experiments.examples.llm_compare import LlmCompare, LlmCompareConfig
from experiments.exceptions import InvalidDefinition
from experiments.testing import RecordingContext
from experiments.validation import accepted_configuration
from experiments.variables import value_of


class FakeOpenAi(ThreadingHTTPServer):
    """Answers each prompt with the model's name and the prompt; `failures` are sent first, one per request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.failures: list[tuple[int, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: FakeOpenAi

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        if self.server.failures:
            self.answer(*self.server.failures.pop(0))
            return
        text = f"{body['model']} says {body['messages'][-1]['content']}"
        usage = {"prompt_tokens": 3, "completion_tokens": 5}
        self.answer(200, {}, json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode())

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def openai() -> Iterator[FakeOpenAi]:
    with FakeOpenAi() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KEY_OF_A_TEST", "hush")
    monkeypatch.setenv("ATHANOR_EXPERIMENTS_VARIABLES", "KEY_OF_*")
    experiments_settings.cache_clear()
    yield
    experiments_settings.cache_clear()


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "OPENAI_API_KEY", "KEY_OF", "key_of_a_test"])
@pytest.mark.parametrize("allowed", ["KEY_OF_*", ""])
def test_a_configuration_names_no_variable_that_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, allowed: str
) -> None:
    monkeypatch.setenv("ATHANOR_EXPERIMENTS_VARIABLES", allowed)
    monkeypatch.setenv(name, "hush")
    experiments_settings.cache_clear()
    given = {"base_url": "http://x/v1", "model_a": "a", "model_b": "b", "prompts": ["p"], "api_key_env": name}

    with pytest.raises(InvalidDefinition) as error:
        accepted_configuration(LlmCompare, given)
    with pytest.raises(ValueError, match="ATHANOR_EXPERIMENTS_VARIABLES"):
        value_of(name)

    assert list(error.value.problems) == ["configuration.api_key_env"]
    assert "ATHANOR_EXPERIMENTS_VARIABLES" in error.value.problems["configuration.api_key_env"]


def context(server: FakeOpenAi, folder: Path, **settings: Any) -> RecordingContext[LlmCompareConfig]:
    config = LlmCompareConfig(
        base_url=settings.pop("base_url", server.url),
        model_a="a",
        model_b="b",
        prompts=["one", "two"],
        api_key_env="KEY_OF_A_TEST",
        retry_wait_s=0,
        **settings,
    )
    return RecordingContext(config, workdir=folder)


def test_both_models_are_asked_every_prompt(openai: FakeOpenAi, tmp_path: Path) -> None:
    ctx = context(openai, tmp_path, system="Be brief.")

    summary = LlmCompare().run(ctx)

    assert [answer["text"] for answer in ctx.results["answer"]] == [
        "a says one",
        "b says one",
        "a says two",
        "b says two",
    ]
    assert summary["a"]["completion_tokens"] == summary["b"]["completion_tokens"] == 10
    assert [point.step for point in ctx.metrics["latency_s a"]] == [0, 1]
    assert "**b**\n\nb says two" in ctx.artifacts["answers.md"].read_text()
    asked = openai.requests[0]
    assert (asked["path"], asked["key"]) == ("/v1/chat/completions", "Bearer hush")
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one"}]


def test_what_may_pass_is_asked_again(openai: FakeOpenAi, tmp_path: Path) -> None:
    openai.failures = [(429, {"Retry-After": "7"}, b"slow down"), (503, {}, b"")]
    ctx = context(openai, tmp_path)

    LlmCompare().run(ctx)

    assert len(openai.requests) == 6
    assert ctx.slept_s == 7
    assert "HTTP 429 Too Many Requests: slow down; asking again in 7 s" in ctx.lines[0].message


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (401, {}, b"wrong key", "a, prompt 0: HTTP 401 Unauthorized: wrong key"),
        (302, {"Location": "http://127.0.0.1:1/"}, b"", "a, prompt 0: HTTP 302"),
        (200, {}, b"<html>", "a, prompt 0: the answer is not a chat completion: <html>"),
        (200, {}, b'{"choices": []}', "not a chat completion"),
    ],
)
def test_what_will_not_pass_fails_at_once(
    openai: FakeOpenAi, tmp_path: Path, status: int, headers: dict[str, str], body: bytes, reason: str
) -> None:
    openai.failures = [(status, headers, body)]

    with pytest.raises(ExperimentFailed, match=reason):
        LlmCompare().run(context(openai, tmp_path))

    assert len(openai.requests) == 1


def test_it_gives_up_after_the_last_trial(openai: FakeOpenAi, tmp_path: Path) -> None:
    openai.failures = [(500, {}, b"oh")] * 3

    with pytest.raises(ExperimentFailed, match=r"after 3 trial\(s\): HTTP 500"):
        LlmCompare().run(context(openai, tmp_path, retries=2))


def test_an_endpoint_that_is_not_there_fails_the_run(openai: FakeOpenAi, tmp_path: Path) -> None:
    with pytest.raises(ExperimentFailed, match=r"no answer from http://127\.0\.0\.1:1/v1"):
        LlmCompare().run(context(openai, tmp_path, base_url="http://127.0.0.1:1/v1", retries=0))


def test_a_missing_key_fails_the_run(openai: FakeOpenAi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEY_OF_A_TEST")

    with pytest.raises(ExperimentFailed, match="no environment variable KEY_OF_A_TEST"):
        LlmCompare().run(context(openai, tmp_path))


def test_a_later_attempt_pays_for_no_answer_twice(openai: FakeOpenAi, tmp_path: Path) -> None:
    ctx = context(openai, tmp_path)
    ctx.cancel_after(4)
    with pytest.raises(RunCancelled):
        LlmCompare().run(ctx)
    assert len(openai.requests) == 3

    later = ctx.next_attempt()
    summary = LlmCompare().run(later)

    assert len(openai.requests) == 4
    assert summary["a"]["answers"] == summary["b"]["answers"] == 2
    assert [answer["text"] for answer in later.results["answer"]] == ["b says two"]
