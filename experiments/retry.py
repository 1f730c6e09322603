"""How often, and after what pause, a run that failed is tried again: declared per kind of failure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

RetriedKind = Literal["error", "start", "timeout", "stalled", "memory", "crashed", "lost"]
"""Kinds of failure that another attempt may mend. A configuration that does not fit stays what it is."""
RETRIED_KINDS: tuple[str, ...] = get_args(RetriedKind)


class Retry(BaseModel):
    """What follows a failure of one kind: `Retry(times=3, backoff_s=10)` waits 10, 20 and 40 seconds, more or less."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(0, ge=0, le=1000, description="How many more attempts a run gets after failures of this kind")
    backoff_s: float = Field(0.0, ge=0, description="Pause before the first of them")
    factor: float = Field(2.0, ge=1, le=100, description="How much longer each further pause is")
    max_backoff_s: float = Field(3600.0, ge=0, description="The longest pause")
    jitter: float = Field(0.1, ge=0, le=1, description="Share of the pause that chance may take off or add")

    def pause_s(self, retry: int, chance: float) -> float:
        """Seconds before the `retry`-th retry, counted from 1; `chance` is uniform in [0, 1]. Never negative."""
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
    """Kind → policy as it is stored on a run; later mappings win. A number stands for `times`.

    Where nothing is said of `lost`, `on_lost` and `max_attempts` say it. Raises pydantic.ValidationError.
    """
    lost = Retry(times=max_attempts - 1 if on_lost == "retry" else 0)
    said = {kind: _spelled_out(value) for kind, value in {**declared, **(overrides or {})}.items()}
    checked = _retries.validate_python({"lost": lost, **said})
    return {kind: retry.model_dump() for kind, retry in checked.items()}


def _spelled_out(value: Any) -> Any:
    return {"times": value} if isinstance(value, int) and not isinstance(value, bool) else value


def attempts_at_most(retries: Mapping[str, Mapping[str, Any]]) -> int:
    """How many attempts a run may have in all, those that were handed back not counted."""
    return 1 + sum(int(retry["times"]) for retry in retries.values())
