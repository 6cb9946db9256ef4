import uuid
from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations: ClassVar = [
        migrations.CreateModel(
            name="Effect",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("task", models.UUIDField(default=uuid.uuid4, db_index=True)),
                ("kind", models.CharField(max_length=40)),
                ("event", models.CharField(max_length=10)),
                ("release", models.CharField(max_length=80)),
                ("at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
