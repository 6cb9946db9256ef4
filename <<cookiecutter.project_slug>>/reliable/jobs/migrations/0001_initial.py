
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
            name='Schedule',
            fields=[
                ('name', models.TextField(primary_key=True, serialize=False)),
                ('last_due', models.DateTimeField(null=True)),
                ('paused_at', models.DateTimeField(null=True)),
                ('paused_by', models.TextField(db_default='')),
            ],
            options={
                'db_table': 'reliable_schedule',
            },
        ),
        migrations.CreateModel(
            name='Worker',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('name', models.TextField()),
                ('release', models.TextField(db_default='')),
                ('queues', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
                ('slots', models.IntegerField()),
                ('beat', models.BigIntegerField(db_default=0)),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'reliable_worker',
            },
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('task', models.TextField()),
                ('queue', models.TextField()),
                ('args', models.JSONField(db_default=[])),
                ('kwargs', models.JSONField(db_default={})),
                ('state', models.TextField(choices=[('held', 'Held'), ('waiting', 'Waiting'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('expired', 'Expired')], db_default='waiting')),
                ('priority', models.SmallIntegerField(db_default=5)),
                ('run_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('expires_at', models.DateTimeField(null=True)),
                ('published_at', models.DateTimeField(null=True)),
                ('offers', models.SmallIntegerField(db_default=0)),
                ('claim_no', models.IntegerField(db_default=0)),
                ('attempt', models.SmallIntegerField(db_default=0)),
                ('max_attempts', models.SmallIntegerField(db_default=5)),
                ('backoff', models.FloatField(db_default=5)),
                ('time_limit', models.IntegerField(db_default=60)),
                ('atomic', models.BooleanField(db_default=True)),
                ('worker', models.UUIDField(null=True)),
                ('backend', models.IntegerField(null=True)),
                ('started_at', models.DateTimeField(null=True)),
                ('deadline_at', models.DateTimeField(null=True)),
                ('finished_at', models.DateTimeField(null=True)),
                ('suspect', models.BooleanField(db_default=False)),
                ('misfits', models.SmallIntegerField(db_default=0)),
                ('misfit_since', models.DateTimeField(null=True)),
                ('result', models.JSONField(null=True)),
                ('error', models.TextField(db_default='')),
                ('progress', models.JSONField(null=True)),
                ('checkpoint', models.JSONField(null=True)),
                ('headers', models.JSONField(db_default={})),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), db_default=[], size=None)),
                ('release_enqueued', models.TextField(db_default='')),
                ('release_ran', models.TextField(db_default='')),
                ('parent_id', models.UUIDField(null=True)),
                ('workflow_id', models.UUIDField(null=True)),
                ('concurrency_key', models.TextField(null=True)),
                ('unique_key', models.TextField(null=True)),
                ('unique_running', models.BooleanField(db_default=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'reliable_job',
                'indexes': [models.Index(models.F('queue'), models.F('priority'), models.F('run_at'), models.F('id'), condition=models.Q(('published_at__isnull', True), ('state', 'waiting')), name='reliable_job_due'), models.Index(models.F('queue'), models.F('published_at'), condition=models.Q(('published_at__isnull', False), ('state', 'waiting')), name='reliable_job_published'), models.Index(models.F('worker'), condition=models.Q(('state', 'running')), name='reliable_job_running'), models.Index(models.F('expires_at'), condition=models.Q(('expires_at__isnull', False), ('state', 'waiting')), name='reliable_job_expires'), models.Index(models.F('state'), models.F('finished_at'), condition=models.Q(('state__in', ('succeeded', 'failed', 'cancelled', 'expired'))), name='reliable_job_finished'), models.Index(models.F('parent_id'), condition=models.Q(('parent_id__isnull', False)), name='reliable_job_parent')],
                'constraints': [models.UniqueConstraint(models.F('task'), models.F('unique_key'), condition=models.Q(('unique_key__isnull', False)), name='reliable_job_unique'), models.UniqueConstraint(models.F('worker'), condition=models.Q(('state', 'running'), ('suspect', True)), name='reliable_job_one_suspect'), models.CheckConstraint(condition=models.Q(models.Q(('deadline_at__isnull', False), ('state', 'running'), ('worker__isnull', False)), models.Q(models.Q(('state', 'running'), _negated=True), ('deadline_at__isnull', True), ('worker__isnull', True)), _connector='OR'), name='reliable_job_holder'), models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', True), ('state__in', ('held', 'waiting', 'running'))), models.Q(('finished_at__isnull', False), ('state__in', ('succeeded', 'failed', 'cancelled', 'expired')), ('unique_key__isnull', True)), _connector='OR'), name='reliable_job_end'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'waiting'), ('published_at__isnull', True), _connector='OR'), models.Q(('state', 'succeeded'), ('result__isnull', True), _connector='OR')), name='reliable_job_published_or_result'), models.CheckConstraint(condition=models.Q(('attempt__range', (0, models.F('max_attempts'))), ('claim_no__gte', models.F('attempt')), ('priority__range', (0, 9))), name='reliable_job_counts')],
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('claim_no', models.IntegerField()),
                ('outcome', models.TextField(choices=[('failed', 'Failed'), ('timed out', 'Timed Out'), ('child lost', 'Child Lost'), ('worker lost', 'Worker Lost'), ('not recorded', 'Not Recorded'), ('shut down', 'Shut Down'), ('misfit', 'Misfit'), ('snoozed', 'Snoozed')])),
                ('counted', models.BooleanField()),
                ('started_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('worker', models.UUIDField(null=True)),
                ('release', models.TextField(db_default='')),
                ('error', models.TextField(db_default='')),
                ('traceback', models.TextField(db_default='')),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='attempts', to='reliable_jobs.job')),
            ],
            options={
                'db_table': 'reliable_attempt',
            },
        ),
        migrations.CreateModel(
            name='Queue',
            fields=[
                ('name', models.TextField(primary_key=True, serialize=False)),
                ('paused_at', models.DateTimeField(null=True)),
                ('paused_by', models.TextField(db_default='')),
                ('paused_why', models.TextField(db_default='')),
                ('paused_until', models.DateTimeField(null=True)),
                ('limit', models.IntegerField(null=True)),
            ],
            options={
                'db_table': 'reliable_queue',
                'constraints': [models.CheckConstraint(condition=models.Q(('paused_at__isnull', False), models.Q(('paused_by', ''), ('paused_until__isnull', True)), _connector='OR'), name='reliable_queue_paused_by_somebody'), models.CheckConstraint(condition=models.Q(('limit__isnull', True), ('limit__gte', 1), _connector='OR'), name='reliable_queue_limit')],
            },
        ),
    ]
