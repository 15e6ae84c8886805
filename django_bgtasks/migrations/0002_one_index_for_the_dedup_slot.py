from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_bgtasks", "0001_initial")]

    # In this order, so that the slot is unique throughout where a migration is no transaction.
    operations = [
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                fields=("dedup_slot",), name="bgtasks_job_dedup_slot"
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="dedup_slot",
            field=models.CharField(blank=True, editable=False, max_length=64, null=True),
        ),
    ]
