"""Admin of instances. Knows nothing of runs: `runs.admin` registers a subclass that launches."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.csrf import csrf_protect
from unfold.admin import ModelAdmin

from experiments import catalog
from experiments.choices import about, choice_context
from experiments.forms.instance import InstanceForm
from experiments.forms.widget import GeneratedWidget
from experiments.models import Instance
from experiments.strict_lists import StrictList

if TYPE_CHECKING:
    _DjangoAdmin = object  # its own types would conflict with unfold, which has none
else:
    _DjangoAdmin = admin.ModelAdmin  # not generic at run time


class ValidatesOutsideTransactions(_DjangoAdmin):
    """Remove Django's transaction around a whole form: the form queries the catalog, which may take seconds.

    List it after unfold's ModelAdmin, so that it replaces Django's.
    """

    _changeform_view: Any
    """Django's, without the transaction."""

    @method_decorator(csrf_protect)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        return cast(HttpResponse, self._changeform_view(request, object_id, form_url, extra_context))


@admin.register(Instance)
class InstanceAdmin(StrictList, ModelAdmin, ValidatesOutsideTransactions):
    form = InstanceForm
    list_display = ("name", "experiment", "shown_tags", "description", "updated_at")
    list_filter = ("experiment",)
    search_fields = ("name", "description", "experiment")
    list_select_related = ("created_by",)
    readonly_fields = ("created_at", "updated_at", "created_by", "shown_configuration", "shown_tags")
    warn_unsaved_form = True
    list_before_template = "experiments/problems.html"
    change_form_outer_before_template = "experiments/about.html"
    actions_detail: tuple[str, ...] = ()
    actions_row: tuple[str, ...] = ()

    class Media:
        css = {"all": ("experiments/forms.css",)}

    def get_fieldsets(self, request: HttpRequest, obj: Instance | None = None) -> Any:
        """Show the configuration with masked secrets to users who may not change the instance."""
        is_read_only = obj is not None and not self.has_change_permission(request, obj)
        configuration, tags = ("shown_configuration", "shown_tags") if is_read_only else ("configuration", "tags")
        return (
            (None, {"fields": ("experiment", "name", "description", tags)}),
            ("Configuration", {"fields": (configuration,)}),
            ("Limits and queue", {"fields": ("limits", "queue", "priority"), "classes": ("collapse",)}),
            *([("History", {"fields": ("created_at", "updated_at", "created_by")})] if obj else []),
        )

    @admin.display(description="Configuration")
    def shown_configuration(self, instance: Instance) -> str:
        text = json.dumps(catalog.masked(instance.experiment, instance.configuration), indent=2, ensure_ascii=False)
        return format_html('<pre class="athanor-code">{}</pre>', text)

    @admin.display(description="Tags")
    def shown_tags(self, instance: Instance) -> str:
        return ", ".join(instance.tags) or "-"

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """`?experiment=digits&epochs=3` begins with that value and the experiment's other defaults."""
        keys = [key for key in request.GET if key != "experiment" and not key.startswith("_")]  # the rest is Django's
        query = {key: request.GET.getlist(key) for key in keys}
        return {"experiment": request.GET.get("experiment", ""), "query": query}

    def save_model(self, request: HttpRequest, obj: Instance, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = cast(AbstractBaseUser, request.user)  # type: ignore[assignment]  # the admin admits no other user
        super().save_model(request, obj, form, change)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"experiment_problems": catalog.current().problems, **(extra_context or {})}
        return cast(HttpResponse, super().changelist_view(request, context))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the choice of an experiment, then its form."""
        name = request.GET.get("experiment", "")
        if request.method == "POST" or name in catalog.current():
            return cast(HttpResponse, super().add_view(request, form_url, extra_context))
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Add instance",
            "media": self.media + GeneratedWidget.media_of(),
            "is_popup": "_popup" in request.GET,
            **choice_context(request.GET, name),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "experiments/choose.html", context)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        form = context["adminform"].form
        for sentence in form.refused:
            messages.warning(request, sentence)
        name = form.source_experiment
        context["experiment"] = about(catalog.current().get(name)) if name in catalog.current() else None
        return super().render_change_form(request, context, *args, **kwargs)
