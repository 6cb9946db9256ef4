import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_jobs', '0006_schedule'),
    ]

    operations = [
        migrations.CreateModel(
            name='Change',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('operation', models.TextField()),
                ('selection', models.JSONField()),
                ('by', models.TextField()),
                ('reason', models.TextField()),
                ('matched', models.IntegerField(null=True)),
                ('seen', models.IntegerField(db_default=0)),
                ('changed', models.IntegerField(db_default=0)),
                ('after', models.UUIDField(null=True)),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('ended_at', models.DateTimeField(null=True)),
                ('stopped', models.BooleanField(db_default=False)),
            ],
            options={
                'db_table': 'reliable_change',
                'default_permissions': ('view',),
            },
        ),
        migrations.AlterModelOptions(
            name='job',
            options={'default_permissions': ('view',), 'permissions': (('operate_job', 'Can retry, discard and cancel jobs'),)},
        ),
        migrations.AlterModelOptions(
            name='queue',
            options={'default_permissions': ('view',), 'permissions': (('operate_queue', 'Can pause, resume and limit queues'),)},
        ),
        migrations.AddField(
            model_name='job',
            name='exception',
            field=models.TextField(db_default=''),
        ),
        migrations.AddField(
            model_name='job',
            name='place',
            field=models.TextField(db_default=''),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(models.F('task'), models.F('exception'), models.F('place'), models.F('finished_at'), condition=models.Q(('state', 'failed')), name='reliable_job_failed'),
        ),
    ]
