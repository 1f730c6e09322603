"""The web application: Django, with what Django is not made for in front of it."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "athanor.settings")

application = get_asgi_application()
