"""Refuses a folder that holds something already, and answers that hooks/answers.py refuses.

Cookiecutter renders this file first. The message arrives percent-encoded in one literal, so no
answer can become code here.
"""

import sys
from pathlib import Path
from urllib.parse import unquote

REFUSAL = "<< cookiecutter | refusal | urlencode >>"


def main() -> None:
    """Run in the project's folder, which is empty unless it existed before."""
    if REFUSAL:
        sys.exit(unquote(REFUSAL))
    # With -f or -s cookiecutter would write into what is there, file by file.
    folder = Path.cwd()
    if any(folder.iterdir()):
        sys.exit(
            f'project_slug "{folder.name}" names a folder that exists and is not empty; '
            f'try "{folder.name[:28]}_2".'
        )


if __name__ == "__main__":
    main()
