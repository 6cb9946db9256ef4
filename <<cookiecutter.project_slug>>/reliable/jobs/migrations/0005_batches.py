
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_jobs', '0004_tally'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='batched',
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddField(
            model_name='job',
            name='solo',
            field=models.BooleanField(db_default=False),
        ),
        migrations.AlterField(
            model_name='attempt',
            name='outcome',
            field=models.TextField(choices=[('failed', 'Failed'), ('timed out', 'Timed Out'), ('child lost', 'Child Lost'), ('worker lost', 'Worker Lost'), ('not recorded', 'Not Recorded'), ('shut down', 'Shut Down'), ('misfit', 'Misfit'), ('snoozed', 'Snoozed'), ('rolled back', 'Rolled Back')]),
        ),
    ]
