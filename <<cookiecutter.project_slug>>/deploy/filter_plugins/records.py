"""The records of deploys, put together over hosts, for people to choose from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Record = Mapping[str, Any]

# Minutes after which hours are shown, and then days.
_HOURS, _DAYS = 120, 2880


def releases(
    records: Iterable[Sequence[Record]], complete: Sequence[Iterable[str]]
) -> list[dict[str, Any]]:
    """Releases that are complete on every host, the newest deploy first, with a line for people.

    records: one list of records a host. complete: one list of release names a host.
    """
    everywhere = set.intersection(*(set(names) for names in complete)) if complete else set()
    known = merged(records)
    succeeded = [each for each in known if each["result"] == "succeeded"]
    live = succeeded[0]["release"] if succeeded else ""
    found: list[dict[str, Any]] = []
    for record in known:
        name = record["release"]
        if name not in everywhere or name in {each["release"] for each in found}:
            continue
        found.append(
            {
                "release": name,
                "live": name == live,
                "worked": any(each["release"] == name for each in succeeded),
                "record": record,
            }
        )
    previous = next((each for each in found if each["worked"] and not each["live"]), None)
    return [{**each, "previous": each is previous, "line": _line(each)} for each in found]


def merged(records: Iterable[Sequence[Record]]) -> list[dict[str, Any]]:
    """One record a deploy, the newest first: what failed on one host has failed."""
    order = ["failed", "interrupted", "succeeded", "started"]
    known: dict[str, dict[str, Any]] = {}
    for record in (each for host in records for each in host):
        other = known.get(record["deploy"])
        if other is None or order.index(record["result"]) < order.index(other["result"]):
            known[record["deploy"]] = {"release": "", "author": "", **record}
    return [known[deploy] for deploy in sorted(known, reverse=True)]


def _line(each: Mapping[str, Any]) -> str:
    record = each["record"]
    if each["live"]:
        health = "live"
    elif record["result"] == "succeeded":
        health = "worked"
    else:
        health = f"{record['result']}, {record.get('why', 'it has not ended').splitlines()[0]}"
    when = _ago(record.get("started", ""))
    return f"{each['release']}  {when}  by {record['author'] or 'somebody'}  {health}"


def _ago(text: str) -> str:
    try:
        then = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return "at an unknown time"
    minutes = int((datetime.now(UTC) - then).total_seconds()) // 60
    if minutes < _HOURS:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < _DAYS else f"{minutes // 1440} days ago"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"releases": releases, "merged_records": merged}
