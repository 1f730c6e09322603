from django.apps import AppConfig
from django.conf import settings


class RunsConfig(AppConfig):
    name = "runs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_save

        from experiments import catalog
        from runs import checks, database  # noqa: F401  # registers the system checks
        from runs.forkserver import environment
        from runs.models import Schedule
        from runs.schedules import rest

        catalog.set_environment(environment.of_experiments)
        database.let_renewals_pass()
        if not settings.IS_CHILD:
            from runs import audited

            audited.connect()
        post_save.connect(rest.end_after_commit, sender=Schedule)
