"""Retry policies: number of attempts and pauses for each failure kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

RetriedKind = Literal["error", "start", "timeout", "stalled", "memory", "crashed", "lost"]
"""Failure kinds that another attempt may fix. An invalid configuration stays invalid."""
RETRIED_KINDS: tuple[str, ...] = get_args(RetriedKind)


class Retry(BaseModel):
    """Retry policy of one failure kind: `Retry(times=3, backoff_s=10)` waits about 10, 20 and 40 s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(0, ge=0, le=1000, description="Retries after failures of this kind")
    backoff_s: float = Field(0.0, ge=0, description="Pause before the first retry")
    factor: float = Field(2.0, ge=1, le=100, description="Factor by which each further pause grows")
    max_backoff_s: float = Field(3600.0, ge=0, description="Longest pause")
    jitter: float = Field(0.1, ge=0, le=1, description="Random share added to or taken off the pause")

    def pause_s(self, retry: int, chance: float) -> float:
        """Return the seconds before the `retry`-th retry, counted from 1; `chance` is from 0 to 1. Never negative."""
        growth = min(float(retry - 1), 10_000.0)
        try:
            pause = self.backoff_s * self.factor**growth
        except OverflowError:
            pause = self.max_backoff_s
        return float(min(pause, self.max_backoff_s) * (1.0 + self.jitter * (2.0 * chance - 1.0)))


_retries = TypeAdapter(dict[RetriedKind, Retry])


def retries_in_force(
    declared: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    on_lost: str = "retry",
    max_attempts: int = 3,
) -> dict[str, dict[str, Any]]:
    """Return failure kind → policy as stored on a run; later mappings win. A number stands for `times`.

    Without a policy for `lost`, `on_lost` and `max_attempts` define it. Raises pydantic.ValidationError.
    """
    lost = Retry(times=max_attempts - 1 if on_lost == "retry" else 0)
    policies = {kind: _spelled_out(value) for kind, value in {**declared, **(overrides or {})}.items()}
    checked = _retries.validate_python({"lost": lost, **policies})
    return {kind: retry.model_dump() for kind, retry in checked.items()}


def _spelled_out(value: Any) -> Any:
    return {"times": value} if isinstance(value, int) and not isinstance(value, bool) else value


def attempts_at_most(retries: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the maximum number of attempts of a run, not counting released ones."""
    return 1 + sum(int(retry["times"]) for retry in retries.values())
