from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_jobs', '0003_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='Tally',
            fields=[
                ('pk', models.CompositePrimaryKey('hour', 'queue', 'task', 'kind', 'bucket', blank=True, editable=False, primary_key=True, serialize=False)),
                ('hour', models.DateTimeField()),
                ('queue', models.TextField()),
                ('task', models.TextField()),
                ('kind', models.TextField()),
                ('bucket', models.SmallIntegerField()),
                ('count', models.BigIntegerField()),
            ],
            options={
                'db_table': 'reliable_tally',
            },
        ),
        migrations.CreateModel(
            name='TallyMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('until', models.DateTimeField()),
            ],
            options={
                'db_table': 'reliable_tally_mark',
            },
        ),
        migrations.AddIndex(
            model_name='attempt',
            index=models.Index(models.F('ended_at'), name='reliable_attempt_ended'),
        ),
        migrations.AddConstraint(
            model_name='tallymark',
            constraint=models.CheckConstraint(condition=models.Q(('id', 1)), name='reliable_tally_mark_one'),
        ),
    ]
