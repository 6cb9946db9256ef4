"""A job's life, as its row and its attempts tell it."""

from datetime import datetime
from typing import Any, NamedTuple

from reliable.jobs import times
from reliable.jobs.inspection import Details
from reliable.jobs.states import FINISHED, State


class Event(NamedTuple):
    """`name` is a state or a word beside them; `traceback` is empty where there is none."""

    at: datetime
    name: str
    text: str
    traceback: str = ""


def events(found: Details) -> list[Event]:
    """The oldest first; what is to come last."""
    job = found.job
    told = [Event(job["created_at"], "enqueued", _by_release(job["release_enqueued"]))]
    told += [_attempt(each) for each in found.attempts]
    if job["state"] in {State.RUNNING, State.SUCCEEDED} and job["started_at"]:
        told.append(Event(job["started_at"], "started", _by_release(job["release_ran"])))
    if job["state"] in FINISHED and job["finished_at"]:
        told.append(Event(job["finished_at"], job["state"], _end(job)))
    if job["state"] == State.WAITING:
        told.append(Event(job["run_at"], "due", ""))
    if job["state"] == State.RUNNING and job["deadline_at"]:
        told.append(Event(job["deadline_at"], "taken away", "if it has not ended by then"))
    # Sorted by time; of the same moment in the order of a life.
    return sorted(told, key=lambda event: event.at)


def _attempt(attempt: dict[str, Any]) -> Event:
    began = attempt["started_at"] or attempt["ended_at"]
    lasted = times.lasting((attempt["ended_at"] - began).total_seconds())
    counted = "" if attempt["counted"] else ", not counted"
    release = f" by release {attempt['release']}" if attempt["release"] else ""
    return Event(
        attempt["ended_at"],
        f"attempt {attempt['outcome']}",
        f"after {lasted}{counted}{release}: {attempt['error']}",
        attempt["traceback"],
    )


def _by_release(release: str) -> str:
    return f"by release {release}" if release else ""


def _end(job: dict[str, Any]) -> str:
    if job["state"] == State.SUCCEEDED and job["started_at"]:
        seconds = (job["finished_at"] - job["started_at"]).total_seconds()
        return f"after {times.lasting(seconds)}" if seconds >= 1 else f"after {seconds:.3f} s"
    if job["state"] == State.FAILED:
        return f"with {job['attempt']} of {job['max_attempts']} attempts used"
    return str(job["error"])
