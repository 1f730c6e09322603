"""What the pages that let one choose an experiment say of each. Reads the registry, nothing else."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from experiments.base import Experiment
from experiments.exceptions import ExperimentsError
from experiments.registry import registry

CHOOSING = ("q", "experiment", "instance", "run")
"""The keys of a link that say what is chosen."""
_SOFT_BREAK = re.compile(r"(?<=\S)\n(?=[^\s\-*•>#|\d])")
"""Within a paragraph; a list, a table or what is indented keeps its lines."""


@dataclass(frozen=True, slots=True)
class About:
    """An experiment, for people."""

    name: str
    title: str
    description: str
    """The docstring, its paragraphs as one line each."""

    @property
    def summary(self) -> str:
        """The first paragraph."""
        return self.description.partition("\n\n")[0]

    @property
    def more(self) -> str:
        """What follows it."""
        return self.description.partition("\n\n")[2].strip()


def about(experiment: type[Experiment]) -> About:
    text = inspect.cleandoc(experiment.__doc__ or "")
    return About(experiment.name, experiment.title, _SOFT_BREAK.sub(" ", text))


def found(query: str = "") -> list[About]:
    """The experiments in whose name, title or docstring each word of the query is; all for an empty one."""
    words = query.lower().split()
    known = [about(experiment) for experiment in registry().all()]
    return [one for one in known if all(word in f"{one.name} {one.title} {one.description}".lower() for word in words)]


def choice_context(asked: QueryDict, name: str = "") -> dict[str, Any]:
    """For `experiments/choices.html`; `name` is an experiment that was asked for and is not there.

    What the link says besides is kept for the form of what is chosen.
    """
    query = asked.get("q", "")
    kept = [(key, value) for key, values in asked.lists() if key not in CHOOSING for value in values]
    trouble = ""
    if name:
        try:
            registry().get(name)
        except ExperimentsError as error:
            trouble = str(error)
    return {
        "experiments": found(query),
        "q": query,
        "kept": kept,
        "rest": f"&{urlencode(kept)}" if kept else "",
        "trouble": trouble,
        "experiment_problems": registry().problems,
    }
