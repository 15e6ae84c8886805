from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_bgtasks", "0003_rollups_and_queue_pauses")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="trace",
            field=models.CharField(blank=True, editable=False, max_length=55, null=True),
        ),
    ]
