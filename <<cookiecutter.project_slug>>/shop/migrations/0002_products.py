from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

PRODUCTS = [
    {"slug": "kettle", "name": "Kettle", "price": 3490, "stock": 10_000},
    {"slug": "teapot", "name": "Teapot", "price": 2250, "stock": 10_000},
    {"slug": "tea", "name": "Tea, 100 g", "price": 675, "stock": 10_000},
]


def create(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    product = apps.get_model("shop", "Product")
    product.objects.bulk_create([product(**fields) for fields in PRODUCTS])


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
