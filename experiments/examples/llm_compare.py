"""Ask two models the same questions: work that waits for a network, with retries, costs, and nothing paid for twice.

Works with any endpoint that speaks OpenAI's `/chat/completions` (OpenAI, vLLM, Ollama, llama.cpp ...). The key is read
from an environment variable of the worker, whose name is configured, and which ATHANOR_EXPERIMENTS_VARIABLES allows: it
is in no configuration and on no page. Answers are appended to a file in `ctx.workdir`, and the checkpoint counts them:
a later attempt asks only what is still open.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from pydantic import BaseModel, Field

from experiments import Experiment, RunContext
from experiments.variables import VariableName, value_of

ANSWER_MAX_BYTES = 4 * 1024 * 1024
"""A longer response of the endpoint is refused."""
RETRY_WAIT_MAX_S = 60.0
"""The longest wait before a question is asked again, whatever the endpoint wishes."""


class LlmCompareConfig(BaseModel):
    base_url: str = Field(pattern=r"^https?://", description="Up to and with /v1, as in http://localhost:11434/v1")
    model_a: str = Field(min_length=1)
    model_b: str = Field(min_length=1)
    prompts: list[str] = Field(min_length=1, max_length=1_000)
    system: str = Field("", description="System message before each prompt")
    api_key_env: VariableName = Field(
        "", description="Environment variable with the key, which the operator must allow; empty: no key is sent"
    )
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int = Field(512, ge=1, le=100_000)
    timeout_s: float = Field(60.0, gt=0, le=3_600, description="Of one request")
    retries: int = Field(3, ge=0, le=20, description="For what may pass: 429, 5xx, time-outs, a lost connection")
    retry_wait_s: float = Field(1.0, ge=0, le=60, description="Before the first retry; doubled for each further one")


@dataclass(frozen=True)
class Answer:
    prompt: int
    model: str
    text: str
    latency_s: float
    prompt_tokens: int | None
    completion_tokens: int | None


class TryAgainError(Exception):
    """A failure that may pass; `after_s` is the wait that the endpoint asks for."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class RefusedError(Exception):
    """A failure that will not pass."""


class LlmCompare(Experiment):
    """Ask two language models the same questions."""

    title = "Compare two language models"

    class Config(LlmCompareConfig):
        pass

    def run(self, ctx: RunContext[LlmCompareConfig]) -> dict[str, Any]:
        config, file = ctx.config, ctx.workdir / "answers.jsonl"
        answers = restore(ctx, file)
        endpoint = Endpoint(config, api_key(ctx))
        questions = [(n, model) for n in range(len(config.prompts)) for model in (config.model_a, config.model_b)]
        for prompt, model in questions[len(answers) :]:
            ctx.progress(len(answers), len(questions), f"asking {model}")
            answers.append(ask(ctx, endpoint, prompt, model))
            keep(ctx, file, answers)
            report(ctx, answers[-1])
        ctx.progress(len(questions), len(questions))
        ctx.artifact(side_by_side(config, answers).encode(), "answers.md", content_type="text/markdown")
        return {model: summary(model, answers) for model in dict.fromkeys((config.model_a, config.model_b))}


class Endpoint:
    """One question, one request."""

    def __init__(self, config: LlmCompareConfig, key: str) -> None:
        self.config, self.key, self.opener = config, key, opener()

    def ask(self, prompt: int, model: str) -> Answer:
        """Raises TryAgainError or RefusedError."""
        started = time.monotonic()
        try:
            with self.opener.open(self.request(prompt, model), timeout=self.config.timeout_s) as response:
                body = response.read(ANSWER_MAX_BYTES + 1)
        except HTTPError as error:
            raise failure(error) from error
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            raise TryAgainError(f"no answer from {self.config.base_url}: {error}") from error
        return parsed(body, prompt, model, time.monotonic() - started)

    def request(self, prompt: int, model: str) -> Request:
        messages = [{"role": "user", "content": self.config.prompts[prompt]}]
        if self.config.system:
            messages.insert(0, {"role": "system", "content": self.config.system})
        body = {
            "model": model,
            "messages": messages,
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        url = f"{self.config.base_url.rstrip('/')}/chat/completions"
        return Request(url, json.dumps(body).encode(), headers)  # noqa: S310  # the configuration allows http and https only


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would send the key to another place."""

    def redirect_request(self, *_: Any) -> None:
        return None


def opener() -> OpenerDirector:
    return build_opener(_NoRedirects)


def api_key(ctx: RunContext[LlmCompareConfig]) -> str:
    name = ctx.config.api_key_env
    if not name:
        return ""
    return value_of(name) or ctx.fail(f"The worker has no environment variable {name}. Set it, or empty api_key_env.")


def ask(ctx: RunContext[LlmCompareConfig], endpoint: Endpoint, prompt: int, model: str) -> Answer:
    """One answer, with as many retries as configured; fails the run when there is none."""
    for trial in range(ctx.config.retries + 1):
        ctx.raise_if_cancelled()
        try:
            return endpoint.ask(prompt, model)
        except RefusedError as error:
            ctx.fail(f"{model}, prompt {prompt}: {error}")
        except TryAgainError as error:
            if trial == ctx.config.retries:
                ctx.fail(f"{model}, prompt {prompt}, after {trial + 1} trial(s): {error}")
            wait_s = min(max(error.after_s, ctx.config.retry_wait_s * 2**trial), RETRY_WAIT_MAX_S)
            ctx.log.warning(f"{error}; asking again in {wait_s:g} s", model=model, prompt=prompt, trial=trial + 1)
            ctx.sleep(wait_s)
    raise AssertionError("the last trial returns or fails")


def failure(error: HTTPError) -> TryAgainError | RefusedError:
    text = error.read(2_000).decode(errors="replace").strip()
    reason = f"HTTP {error.code} {error.reason}: {text}"
    if error.code in (408, 409, 425, 429) or error.code >= 500:
        after = error.headers.get("Retry-After", "")
        return TryAgainError(reason, float(after) if after.isdigit() else 0.0)
    return RefusedError(reason)


def parsed(body: bytes, prompt: int, model: str, latency_s: float) -> Answer:
    if len(body) > ANSWER_MAX_BYTES:
        raise RefusedError(f"the answer is longer than {ANSWER_MAX_BYTES} bytes")
    try:
        content = json.loads(body)
        text = content["choices"][0]["message"]["content"] or ""
        usage = content.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RefusedError(f"the answer is not a chat completion: {body[:500].decode(errors='replace')}") from error
    return Answer(prompt, model, text, latency_s, usage.get("prompt_tokens"), usage.get("completion_tokens"))


def report(ctx: RunContext[LlmCompareConfig], answer: Answer) -> None:
    ctx.result("answer", asdict(answer))
    ctx.metric(f"latency_s {answer.model}", answer.latency_s, step=answer.prompt)
    if answer.completion_tokens is not None:
        ctx.metric(f"completion_tokens {answer.model}", answer.completion_tokens, step=answer.prompt)
    ctx.log.info(f"{answer.model} answered prompt {answer.prompt} in {answer.latency_s:.2f} s")


def keep(ctx: RunContext[LlmCompareConfig], file: Path, answers: list[Answer]) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(answers[-1])) + "\n")
    ctx.checkpoint({"answers": len(answers)})


def restore(ctx: RunContext[LlmCompareConfig], file: Path) -> list[Answer]:
    """Return the answers that earlier attempts' checkpoints count; afterwards the file holds exactly these."""
    known = ctx.restored["answers"] if ctx.restored else 0
    lines = file.read_text().splitlines(keepends=True)[:known] if file.is_file() else []
    file.write_text("".join(lines))
    if lines:
        ctx.log.info(f"{len(lines)} answers are there already")
    return [Answer(**json.loads(line)) for line in lines]


def summary(model: str, answers: list[Answer]) -> dict[str, Any]:
    own = [answer for answer in answers if answer.model == model]
    return {
        "answers": len(own),
        "mean_latency_s": fmean(answer.latency_s for answer in own),
        "prompt_tokens": sum(answer.prompt_tokens or 0 for answer in own),
        "completion_tokens": sum(answer.completion_tokens or 0 for answer in own),
    }


def side_by_side(config: LlmCompareConfig, answers: list[Answer]) -> str:
    parts = [f"# {config.model_a} and {config.model_b}\n"]
    for number, prompt in enumerate(config.prompts):
        parts.append(f"\n## {number}. {prompt}\n")
        parts.extend(f"\n**{answer.model}**\n\n{answer.text}\n" for answer in answers if answer.prompt == number)
    return "".join(parts)
