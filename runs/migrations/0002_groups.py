"""Two groups to begin with: a viewer sees everything of runs and changes nothing, an operator also does."""

from django.apps import apps as current_apps
from django.contrib.auth.management import create_permissions
from django.db import migrations

VIEWER = {
    "runs": ("view_run", "view_attempt", "view_worker", "view_artifact", "view_result", "view_logline", "view_schedule", "view_slot"),
    "experiments": ("view_instance",),
    "django_celery_results": ("view_taskresult",),
}
OPERATOR = {
    "runs": (
        *VIEWER["runs"],
        "launch_run",
        "cancel_run",
        "change_run",
        "delete_run",
        "add_schedule",
        "change_schedule",
        "delete_schedule",
        "pause_schedule",
        "trigger_schedule",
    ),
    "experiments": ("view_instance", "add_instance", "change_instance", "delete_instance", "launch_instance"),
    "django_celery_results": ("view_taskresult",),
}


def make_groups(apps, schema_editor):
    """Make the groups where they are missing; those that somebody has made or changed are left alone."""
    alias = schema_editor.connection.alias
    group_model = apps.get_model("auth", "Group")
    permission_model = apps.get_model("auth", "Permission")
    for label in VIEWER:  # they are made after the migrations otherwise, and the groups need them now
        create_permissions(current_apps.get_app_config(label), verbosity=0, using=alias)
    for name, wanted in (("viewer", VIEWER), ("operator", OPERATOR)):
        group, is_new = group_model.objects.using(alias).get_or_create(name=name)
        for label, codenames in wanted.items() if is_new else ():
            found = permission_model.objects.using(alias).filter(content_type__app_label=label, codename__in=codenames)
            group.permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0001_initial"),
        ("experiments", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("django_celery_results", "0001_initial"),
    ]

    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
