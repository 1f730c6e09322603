"""What failed of late is found by experiment and kind, however many runs there are."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0002_groups")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                "experiment",
                "failure_kind",
                models.F("finished_at").desc(),
                condition=models.Q(status="failed"),
                name="run_failed",
            ),
        ),
    ]
