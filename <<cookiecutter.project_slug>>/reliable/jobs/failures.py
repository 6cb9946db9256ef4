"""What failed jobs are grouped by: the exception, and the project's function that raised it."""

import sysconfig
from pathlib import Path
from traceback import walk_tb

from reliable.jobs.states import Outcome

# Characters. An index keeps both, and PostgreSQL refuses an entry of more than 2,700 bytes.
_LONGEST = 200

_LIBRARIES = tuple(
    f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_MACHINERY = f"{Path(__file__).parent}/"


def kind(outcome: Outcome, error: BaseException | None) -> str:
    """The exception's class, or how the attempt ended if that says more."""
    if error is None or outcome != Outcome.FAILED:
        return str(outcome)
    return type(error).__qualname__[:_LONGEST]


def place(error: BaseException | None) -> str:
    """`orders.payments.charge`: of the frames that are neither a library's nor ours, the innermost.

    No line number, or each release would begin its groups anew. Empty if there is no such frame.
    """
    found = ""
    for frame, _ in walk_tb(error.__traceback__ if error else None):
        code = frame.f_code
        if not code.co_filename.startswith((*_LIBRARIES, _MACHINERY, "<")):
            found = f"{frame.f_globals.get('__name__', '')}.{code.co_qualname}"
    return found[:_LONGEST]
