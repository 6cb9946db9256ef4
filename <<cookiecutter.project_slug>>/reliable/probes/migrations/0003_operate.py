from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('reliable_probes', '0002_alarms'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='target',
            options={'default_permissions': ('view',), 'permissions': (('operate_target', 'Can probe and pause queues, retry and discard tasks'),), 'verbose_name_plural': 'operations'},
        ),
    ]
