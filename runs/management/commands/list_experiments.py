"""List the experiments there are."""

from __future__ import annotations

import inspect
import json
from typing import Any, TypedDict

from django.core.management.base import CommandParser

from experiments.base import Experiment
from experiments.models import Instance
from experiments.registry import registry
from runs.management.base import Exit, RunsCommand, add_json


class ExperimentDocument(TypedDict):
    name: str
    title: str
    description: str
    queue: str
    limits: dict[str, Any]
    configuration: dict[str, Any]
    """JSON Schema of it."""
    instances: list[str]


class Command(RunsCommand):
    help = "List the experiments that can be launched and what can be configured. stderr tells which are broken."
    examples = """
list_experiments
list_experiments --json
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        instances: dict[str, list[str]] = {}
        for experiment, name in Instance.objects.order_by("name").values_list("experiment", "name"):
            instances.setdefault(experiment, []).append(name)
        found = registry()
        documents = [document(experiment, instances.get(experiment.name, [])) for experiment in found.all()]
        if options["json"]:
            self.print_json(documents)
        else:
            self.print("\n\n".join(text(entry) for entry in documents) or "There are no experiments.")
        for problem in found.problems:
            self.stderr.write(f"\nBroken: {problem.where}\n{problem.traceback}")
        return Exit.OK


def document(experiment: type[Experiment], instances: list[str]) -> ExperimentDocument:
    return {
        "name": experiment.name,
        "title": experiment.title,
        "description": inspect.cleandoc(experiment.__doc__ or ""),
        "queue": experiment.queue,
        "limits": experiment.limits.model_dump(),
        "configuration": experiment.Config.model_json_schema(),
        "instances": instances,
    }


def text(entry: ExperimentDocument) -> str:
    """Name and first sentence, then one line for each field."""
    head = f"{entry['name']}  {entry['description'].splitlines()[0] if entry['description'] else entry['title']}"
    fields = entry["configuration"].get("properties", {})
    required = entry["configuration"].get("required", ())
    rows = [
        f"  {name}" + ("" if name in required else f" = {json.dumps(field.get('default'))}") + about(field)
        for name, field in fields.items()
    ]
    named = [f"  instances: {', '.join(entry['instances'])}"] if entry["instances"] else []
    return "\n".join((head, *rows, *named))


def about(field: dict[str, Any]) -> str:
    description = field.get("description") or field.get("title") or ""
    return f"  {description}" if description else ""
