"""Rules that choose the Unix account of a run: setting `run_as`. Pure.

The first rule that matches a run applies, as in PostgreSQL's pg_hba.conf. A run that no rule matches is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


_Values = Annotated[tuple[str, ...], BeforeValidator(_several)]


class Rule(BaseModel):
    """Account of the runs that meet all conditions; a condition with several values is met by any of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    account: str = Field(min_length=1)
    """Name of a Unix user."""
    queue: _Values = ()
    experiment: _Values = ()
    launched_by: _Values = ()
    """Usernames in Athanor. The owner of a schedule counts as the user who launches its runs."""


def _parsed(value: Any) -> Any:
    """Parse JSON, as in the environment; a list of Django's settings stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else ()
    except ValueError as error:
        raise ValueError(f'not valid JSON ({error}). Example: [{{"account": "athanor-runs"}}]') from error


Rules = Annotated[tuple[Rule, ...], BeforeValidator(_parsed)]


def needs_launcher(rules: Sequence[Rule]) -> bool:
    """Return whether a rule depends on who launched a run."""
    return any(rule.launched_by for rule in rules)


def account_name(rules: Sequence[Rule], *, queue: str, experiment: str, launched_by: str) -> str | None:
    """Return the account of a run; None if no rule matches. `launched_by` is empty if nobody is known."""
    for rule in rules:
        conditions = ((rule.queue, queue), (rule.experiment, experiment), (rule.launched_by, launched_by))
        if all(not accepted or value in accepted for accepted, value in conditions):
            return rule.account
    return None
