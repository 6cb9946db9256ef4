import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_jobs', '0007_admin'),
    ]

    operations = [
        migrations.CreateModel(
            name='Relay',
            fields=[
                ('name', models.TextField(primary_key=True, serialize=False)),
                ('host', models.TextField()),
                ('pid', models.IntegerField()),
                ('release', models.TextField(db_default='')),
                ('published', models.BigIntegerField(db_default=0)),
                ('seen_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'reliable_relay',
            },
        ),
    ]
