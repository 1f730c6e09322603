from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    name = "experiments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Registers the checks, discovers nothing: this also runs in the fork server, which stays free of experiments.
        from experiments import checks  # noqa: F401
