"""Limits of a run and the times of its stop: declared by an experiment, overridden per instance or launch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Limits of one run. Seconds end in `_s`, bytes in `_bytes`; None means no limit.

    A cancel has these steps, each recorded on the attempt with its time: request (a flag that the experiment can read),
    interrupt after `interrupt_after_s`, SIGTERM `cancel_grace_s` after the interrupt, SIGKILL `kill_grace_s` later.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    timeout_s: float | None = Field(None, gt=0, description="Longest time that one attempt may run")
    stall_timeout_s: float | None = Field(None, gt=0, description="Longest silence: no line, result or progress")
    memory_limit_bytes: int | None = Field(None, ge=1024 * 1024, description="Memory limit of the whole process tree")
    interrupt_after_s: float = Field(2.0, ge=0, description="From the cancel request to the interrupting exception")
    cancel_grace_s: float = Field(10.0, ge=0, description="From the interrupt to SIGTERM")
    kill_grace_s: float = Field(5.0, ge=0, description="From SIGTERM to SIGKILL")

    def overridden(self, *overrides: Mapping[str, Any] | None) -> Limits:
        """Return these limits with the given fields replaced; later mappings win. Validates the result.

        Raises pydantic.ValidationError for an unknown name or a value out of range.
        """
        values = self.model_dump()
        for override in overrides:
            values.update(override or {})
        return Limits.model_validate(values)
