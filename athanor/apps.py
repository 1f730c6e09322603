from django.apps import AppConfig
from django.conf import settings


class AthanorConfig(AppConfig):
    name = "athanor"

    def ready(self) -> None:
        if settings.IS_CHILD:
            return  # an experiment's process sends no messages and has no broker
        from athanor import celery, checks, production  # noqa: F401  # makes ours the current Celery app; registers the checks
        from athanor.login import failures  # noqa: F401  # listens to failed logins
