import os

from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "runs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from experiments import catalog
        from runs import checks, database  # noqa: F401  # registers the system checks
        from runs.forkserver import environment

        catalog.set_environment(lambda: environment.for_children(os.environ))
        database.let_renewals_pass()
