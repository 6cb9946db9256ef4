import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_probes', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='target',
            name='told',
            field=models.TextField(choices=[('ok', 'Ok'), ('late', 'Late'), ('silent', 'Silent'), ('unsent', 'Unsent'), ('paused', 'Paused'), ('unknown', 'Unknown')], db_default='ok'),
        ),
        migrations.AddField(
            model_name='target',
            name='told_since',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
        migrations.CreateModel(
            name='Mute',
            fields=[
                ('id', models.SmallIntegerField(db_default=1, primary_key=True, serialize=False)),
                ('until', models.DateTimeField()),
                ('by', models.TextField(db_default='')),
                ('why', models.TextField(db_default='')),
            ],
            options={
                'db_table': 'reliable_probe_mute',
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='reliable_probe_mute_one_row')],
            },
        ),
        migrations.CreateModel(
            name='Ping',
            fields=[
                ('id', models.SmallIntegerField(db_default=1, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('failing', models.BooleanField(db_default=False)),
            ],
            options={
                'db_table': 'reliable_probe_ping',
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='reliable_probe_ping_one_row')],
            },
        ),
    ]
