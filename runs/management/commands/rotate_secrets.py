"""Encrypt stored secrets with the first key of ATHANOR_SECRETS_KEY."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.db import models, transaction

from experiments import catalog, references, sealing
from experiments.models import Instance
from experiments.validation import MASK
from runs.management.base import Exit, RunsCommand, WrongUse
from runs.models import Run, Schedule

MODELS: tuple[type[models.Model], ...] = (Run, Instance, Schedule)


class Command(RunsCommand):
    help = (
        "Encrypt the stored secrets of all runs, instances and schedules with the first key of ATHANOR_SECRETS_KEY:"
        " those that are not encrypted, and those encrypted with another of its keys. Safe to repeat, also during runs."
    )
    examples = """
rotate_secrets
rotate_secrets --dry-run
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count the secrets, and change nothing")

    def answer(self, options: dict[str, Any]) -> Exit:
        try:
            if sealing.cipher() is None:
                raise WrongUse("ATHANOR_SECRETS_KEY is not set. See `Secrets` in docs/operating.md.")
        except sealing.InvalidKey as error:
            raise WrongUse(str(error)) from error
        changed, unreadable = 0, 0
        for model in MODELS:
            for pk in list(model._default_manager.order_by("pk").values_list("pk", flat=True)):
                try:
                    changed += _rotate(model, pk, dry_run=options["dry_run"])
                except sealing.Unreadable as error:
                    unreadable += 1
                    self.stderr.write(f"{model._meta.verbose_name} {pk}: configuration.{error}")
        done = "would be encrypted" if options["dry_run"] else "encrypted"
        self.print(f"{changed:,} secrets {done} with the first key, {unreadable:,} unreadable.")
        return Exit.FAILED if unreadable else Exit.OK


def _rotate(model: type[models.Model], pk: int, *, dry_run: bool) -> int:
    """Encrypt the secrets of one row; return their number. Other columns keep their values."""
    row: Any = model._default_manager.select_related(*_RELATED.get(model, ())).filter(pk=pk).first()
    if row is None or not isinstance(row.configuration, dict):
        return 0
    rotated, number = _rotated(row.configuration, _shown(row))
    if number and not dry_run:
        with transaction.atomic():
            unchanged: Any = model._default_manager.select_for_update(of=("self",)).filter(pk=pk).first()
            if unchanged is None or unchanged.configuration != row.configuration:
                return 0  # stored again meanwhile, with the first key
            model._default_manager.filter(pk=pk).update(configuration=rotated)
    return number


_RELATED: dict[type[models.Model], tuple[str, ...]] = {Schedule: ("instance",)}


def _shown(row: Any) -> Any:
    """Return the configuration as pages show it: what they mask is a secret."""
    name = row.experiment or (row.instance.experiment if row.instance else "")
    entry = catalog.current().entries.get(name)
    if entry is not None and not entry.form.is_secretive:
        return None
    return catalog.masked(name, row.configuration)


def _rotated(stored: Any, shown: Any) -> tuple[Any, int]:
    """Return a configuration with its secrets encrypted by the first key, and the number of those that changed."""
    if shown == MASK and type(stored) is str and stored != MASK:  # stored by a version without marks and references
        return sealing.rotated(references.literal(stored)), 1
    if isinstance(stored, sealing.StoredSecret):
        rotated = sealing.rotated(stored)
        return rotated, int(rotated is not stored)
    if isinstance(stored, dict):
        inner = shown if isinstance(shown, dict) else {}
        pairs = {key: _rotated(item, inner.get(key)) for key, item in stored.items()}
        return {key: item for key, (item, _) in pairs.items()}, sum(number for _, number in pairs.values())
    if isinstance(stored, list):
        masks = shown if isinstance(shown, list) and len(shown) == len(stored) else [None] * len(stored)
        items = [_rotated(item, mask) for item, mask in zip(stored, masks, strict=True)]
        return [item for item, _ in items], sum(number for _, number in items)
    return stored, 0
