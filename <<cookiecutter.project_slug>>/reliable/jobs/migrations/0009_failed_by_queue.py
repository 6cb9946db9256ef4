from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_jobs', '0008_relay'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='job',
            index=models.Index(models.F('queue'), models.F('finished_at'), condition=models.Q(('state', 'failed')), name='reliable_job_queue_failed'),
        ),
    ]
