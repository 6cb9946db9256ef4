from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """The project's user, its own from the first migration.

    Django cannot exchange the user model once tables exist:
    https://docs.djangoproject.com/en/5.2/topics/auth/customizing/#using-a-custom-user-model-when-starting-a-project
    """
