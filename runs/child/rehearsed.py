"""Experiment that is loaded by the rehearsal only, see rehearsal.py. It is never run."""

from typing import Any

from pydantic import BaseModel, Field

from experiments import Experiment, RunContext


class Rehearsed(Experiment):
    """Uses what configurations of experiments use."""

    hidden = True

    class Config(BaseModel):
        number: int = Field(1, ge=0, title="Number", description="A number with a limit")
        text: str = ""
        items: list[Any] = []
        mapping: dict[str, float] = Field(default_factory=dict)

    def run(self, ctx: RunContext[Any]) -> None:
        raise NotImplementedError
