"""Context of the pages that let one choose an experiment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from experiments import catalog
from experiments.catalog import Entry
from experiments.exceptions import ExperimentsError

CHOOSING = ("q", "experiment", "instance", "run")
"""Keys of a link that select something."""
_SOFT_BREAK = re.compile(r"(?<=\S)\n(?=[^\s\-*•>#|\d])")
"""Line break within a paragraph; lists, tables and indented text keep their lines."""


@dataclass(frozen=True, slots=True)
class About:
    """An experiment, for people."""

    name: str
    title: str
    description: str
    """The docstring, its paragraphs as one line each."""

    @property
    def text(self) -> str:
        """Everything that a search looks through."""
        return f"{self.name} {self.title} {self.description}".lower()

    @property
    def summary(self) -> str:
        """The first paragraph."""
        return self.description.partition("\n\n")[0]

    @property
    def more(self) -> str:
        """What follows it."""
        return self.description.partition("\n\n")[2].strip()


def about(entry: Entry) -> About:
    return About(entry.name, entry.title, _SOFT_BREAK.sub(" ", entry.description))


def matching(query: str = "") -> list[About]:
    """Experiments that have each word of the query in their name, title or docstring; all for an empty one."""
    words = query.lower().split()
    offered = [about(entry) for entry in catalog.current().all()]
    return [each for each in offered if all(word in each.text for word in words)]


def choice_context(asked: QueryDict, name: str = "") -> dict[str, Any]:
    """Context of `experiments/choices.html`; `name` is an experiment that was asked for and does not exist.

    Everything else in the link is kept for the form of the chosen experiment.
    """
    query = asked.get("q", "")
    kept = [(key, value) for key, values in asked.lists() if key not in CHOOSING for value in values]
    trouble = ""
    if name:
        try:
            catalog.current().get(name)
        except ExperimentsError as error:
            trouble = str(error)
    return {
        "experiments": matching(query),
        "q": query,
        "kept": kept,
        "rest": f"&{urlencode(kept)}" if kept else "",
        "trouble": trouble,
        "experiment_problems": catalog.current().problems,
    }
