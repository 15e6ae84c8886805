from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_bgtasks", "0004_the_lists_of_the_admin")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="trace",
            field=models.CharField(blank=True, editable=False, max_length=55, null=True),
        ),
    ]
