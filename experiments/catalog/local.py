"""Catalog of a short-lived process, which imports experiments itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.catalog import answers
from experiments.catalog.entries import Catalog
from experiments.exceptions import ExperimentsError, InvalidDefinition
from experiments.registry import Registry, registry
from experiments.validation import Definition


class LocalBackend:
    """Answer from the registry of this process."""

    def __init__(self) -> None:
        self._described: tuple[Registry, Catalog] | None = None

    def current(self, wait_s: float | None = None) -> Catalog:  # noqa: ARG002  # nothing to wait for
        experiments = registry()
        if self._described is None or self._described[0] is not experiments:
            self._described = experiments, answers.catalog_of(experiments)
        return self._described[1]

    def validate(
        self,
        name: str,
        configuration: Any,
        limits: Any,
        tags: Any,
        wait_s: float | None = None,  # noqa: ARG002
    ) -> Definition:
        return answers.validate(name, configuration, limits, tags)

    def configure(self, name: str, configuration: Any) -> dict[str, Any]:
        try:
            return answers.configure(name, configuration)
        except InvalidDefinition:
            raise
        except ExperimentsError as error:
            raise InvalidDefinition(name, {"experiment": str(error)}) from error

    def show(self, name: str, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        return answers.show(name, configuration)

    def stop(self) -> None:
        self._described = None
