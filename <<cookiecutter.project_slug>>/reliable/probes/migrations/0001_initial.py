import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Target',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.TextField(choices=[('beat', 'Beat'), ('relay', 'Relay'), ('queue', 'Queue'), ('worker', 'Worker')])),
                ('name', models.TextField()),
                ('state', models.TextField(choices=[('ok', 'Ok'), ('late', 'Late'), ('silent', 'Silent'), ('unsent', 'Unsent'), ('paused', 'Paused'), ('unknown', 'Unknown')], db_default='unknown')),
                ('state_since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('hop', models.TextField(choices=[('beat', 'Beat'), ('relay', 'Relay'), ('broker', 'Broker'), ('queue', 'Queue'), ('worker', 'Worker'), ('slots', 'Slots')], db_default='')),
                ('why', models.TextField(db_default='')),
                ('seen_at', models.DateTimeField(null=True)),
                ('sent_at', models.DateTimeField(null=True)),
                ('returned_at', models.DateTimeField(null=True)),
                ('asked_at', models.DateTimeField(null=True)),
                ('token', models.UUIDField(null=True)),
                ('latency', models.FloatField(null=True)),
                ('error', models.TextField(db_default='')),
                ('error_at', models.DateTimeField(null=True)),
                ('waiting', models.IntegerField(null=True)),
                ('sent', models.BigIntegerField(db_default=0)),
                ('returned', models.BigIntegerField(db_default=0)),
                ('expired', models.BigIntegerField(db_default=0)),
                ('lost', models.BigIntegerField(db_default=0)),
                ('lost_in_row', models.IntegerField(db_default=0)),
                ('buckets', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), db_default=[], size=None)),
                ('latency_sum', models.FloatField(db_default=0)),
                ('worker', models.TextField(db_default='')),
                ('pid', models.IntegerField(null=True)),
                ('release', models.TextField(db_default='')),
                ('report', models.JSONField(db_default={})),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('retired_at', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'reliable_probe_target',
                'constraints': [models.UniqueConstraint(models.F('kind'), models.F('name'), name='reliable_probe_target_name')],
            },
        ),
        migrations.CreateModel(
            name='Watch',
            fields=[
                ('id', models.SmallIntegerField(db_default=1, primary_key=True, serialize=False)),
                ('judged_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'reliable_probe_watch',
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='reliable_probe_watch_one_row')],
            },
        ),
        migrations.CreateModel(
            name='Sample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('latency', models.FloatField()),
                ('target', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='samples', to='reliable_probes.target')),
            ],
            options={
                'db_table': 'reliable_probe_sample',
                'indexes': [models.Index(models.F('at'), name='reliable_probe_sample_at')],
            },
        ),
        migrations.CreateModel(
            name='Transition',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('before', models.TextField(choices=[('ok', 'Ok'), ('late', 'Late'), ('silent', 'Silent'), ('unsent', 'Unsent'), ('paused', 'Paused'), ('unknown', 'Unknown')])),
                ('after', models.TextField(choices=[('ok', 'Ok'), ('late', 'Late'), ('silent', 'Silent'), ('unsent', 'Unsent'), ('paused', 'Paused'), ('unknown', 'Unknown')])),
                ('hop', models.TextField(choices=[('beat', 'Beat'), ('relay', 'Relay'), ('broker', 'Broker'), ('queue', 'Queue'), ('worker', 'Worker'), ('slots', 'Slots')], db_default='')),
                ('why', models.TextField(db_default='')),
                ('lasted', models.FloatField(db_default=0)),
                ('alarm', models.BooleanField(db_default=False)),
                ('target', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='transitions', to='reliable_probes.target')),
            ],
            options={
                'db_table': 'reliable_probe_transition',
                'indexes': [models.Index(models.F('at'), name='reliable_probe_transition_at')],
            },
        ),
        # Some dozens of rows, each changed every few seconds: room for that in their page.
        migrations.RunSQL(
            "ALTER TABLE reliable_probe_target SET (fillfactor = 50, autovacuum_vacuum_threshold = 200)",
            "ALTER TABLE reliable_probe_target RESET (fillfactor, autovacuum_vacuum_threshold)",
        ),
    ]
