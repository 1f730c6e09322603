"""Template context of the pages for choosing an experiment."""

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
"""Query keys that select an experiment, an instance or a run."""
_SOFT_BREAK = re.compile(r"(?<=\S)\n(?=[^\s\-*•>#|\d])")
"""Line break within a paragraph; lists, tables and indented text keep their lines."""


@dataclass(frozen=True, slots=True)
class About:
    """An experiment, for people."""

    name: str
    title: str
    description: str
    """Docstring, each paragraph on one line."""

    @property
    def text(self) -> str:
        """Searchable text, in lower case."""
        return f"{self.name} {self.title} {self.description}".lower()

    @property
    def summary(self) -> str:
        """First paragraph of the description."""
        return self.description.partition("\n\n")[0]

    @property
    def more(self) -> str:
        """Description after the first paragraph."""
        return self.description.partition("\n\n")[2].strip()


def about(entry: Entry) -> About:
    return About(entry.name, entry.title, _SOFT_BREAK.sub(" ", entry.description))


def matching(query: str = "") -> list[About]:
    """Experiments that have each word of the query in their name, title or docstring; all for an empty one."""
    words = query.lower().split()
    offered = [about(entry) for entry in catalog.current().all()]
    return [each for each in offered if all(word in each.text for word in words)]


def choice_context(request_query: QueryDict, name: str = "") -> dict[str, Any]:
    """Context of `experiments/choices.html`; `name` is a requested experiment that does not exist.

    All other parameters are passed on to the form of the chosen experiment.
    """
    query = request_query.get("q", "")
    passed_on = [(key, value) for key, values in request_query.lists() if key not in CHOOSING for value in values]
    error_text = ""
    if name:
        try:
            catalog.current().get(name)
        except ExperimentsError as error:
            error_text = str(error)
    return {
        "experiments": matching(query),
        "q": query,
        "kept": passed_on,
        "rest": f"&{urlencode(passed_on)}" if passed_on else "",
        "trouble": error_text,
        "experiment_problems": catalog.current().problems,
    }
