#!/usr/bin/env python
"""Django's command line; what is wrong with the surroundings is said in one sentence."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db.utils import OperationalError
    from environs import EnvError

    try:
        execute_from_command_line(sys.argv)
    except EnvError as error:
        message = str(error).rstrip(".")
        sys.exit(f"error: {message}. Set it in .env; .env.example describes each variable.")
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")
    except OperationalError:
        from reliable.development.services import explain_unreachable

        if problem := explain_unreachable():
            sys.exit(f"error: {problem}")
        raise


if __name__ == "__main__":
    main()
