import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_jobs', '0005_batches'),
    ]

    operations = [
        migrations.CreateModel(
            name='Beat',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('host', models.TextField()),
                ('release', models.TextField(db_default='')),
                ('schedule', models.TextField()),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('seen_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('stopped_at', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'reliable_beat',
                'default_permissions': (),
            },
        ),
        migrations.AlterModelOptions(
            name='schedule',
            options={'default_permissions': ('view',), 'permissions': (('operate_schedule', 'Can pause, resume and run entries of the schedule'),), 'verbose_name': 'entry of the schedule', 'verbose_name_plural': 'schedule'},
        ),
        migrations.AddField(
            model_name='schedule',
            name='last_job',
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='last_tick',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='missed',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='schedule',
            name='missed_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='removed_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='ticked_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='timing',
            field=models.TextField(db_default=''),
        ),
        migrations.AlterField(
            model_name='schedule',
            name='last_due',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
    ]
