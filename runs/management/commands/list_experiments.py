"""List the experiments."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from django.core.management.base import CommandParser

from experiments import catalog
from experiments.catalog import Entry
from experiments.models import Instance
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
    help = "List the experiments with their configuration fields. Experiments that failed to load are listed on stderr."
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
        loaded = catalog.current()
        pairs = [(experiment, instances.get(experiment.name, [])) for experiment in loaded.all()]
        if options["json"]:
            self.print_json([document(*pair) for pair in pairs])
        else:
            self.print(
                "\n\n".join(text(*pair) for pair in pairs)
                or "There are no experiments. Add one as docs/writing-experiments.md describes."
            )
        for problem in loaded.problems:
            if problem.is_notice:
                self.stderr.write(f"\nNote: {problem.where}\n{problem.reason}")
            else:
                self.stderr.write(f"\nCannot load {problem.where}: {problem.reason}\n{problem.traceback}")
        return Exit.OK


def document(experiment: Entry, instances: list[str]) -> ExperimentDocument:
    return {
        "name": experiment.name,
        "title": experiment.title,
        "description": experiment.description,
        "queue": experiment.queue,
        "limits": experiment.limits.model_dump(),
        "configuration": experiment.schema,
        "instances": instances,
    }


def text(experiment: Entry, instances: list[str]) -> str:
    """Name and first sentence, then one line for each field."""
    description = experiment.description
    lines = [f"{experiment.name}  {description.splitlines()[0] if description else experiment.title}"]
    for field in experiment.fields:
        value = "" if field.required else f" = {json.dumps(field.default, ensure_ascii=False)}"
        about = "; ".join(part for part in (field.description, field.type, field.constraints) if part)
        lines.append(f"  {field.name}{value}  {about}")
    if instances:
        lines.append(f"  instances: {', '.join(instances)}")
    return "\n".join(lines)
