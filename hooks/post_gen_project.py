"""Removes the example from a project that is made without it.

The project's own shop/remove.py does it, so that a later `make remove-example` leaves the same
files. Nothing else happens here: cruft runs this file twice at every update, so it must give the
same result every time, without network, secrets, git or installed packages.
"""

import runpy
import sys
from pathlib import Path

EXAMPLE_APP = "<< cookiecutter.example_app | jsonify >>"


def main() -> None:
    """Run in the new project's root, where cookiecutter starts it."""
    if EXAMPLE_APP == "true":
        return
    remove = runpy.run_path("shop/remove.py")
    try:
        remove["remove_example"](Path.cwd())
    except remove["ExampleError"] as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
