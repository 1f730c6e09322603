from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]
if settings.TWO_FACTOR != "off":
    urlpatterns = [path("", include("athanor.login.two_factor")), *urlpatterns]
if settings.OIDC:
    urlpatterns += [path("", include("athanor.login.oidc"))]
