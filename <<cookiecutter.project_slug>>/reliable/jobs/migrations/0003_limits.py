from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_jobs', '0002_storage'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='slot',
            field=models.SmallIntegerField(null=True),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(models.F('queue'), models.F('slot'), condition=models.Q(('slot__isnull', False), ('state', 'running')), name='reliable_job_slot'),
        ),
    ]
