"""What is said of workers and times, for the middle of a sentence."""

from reliable.probes.seen import Report, Seen

# How times are written: below that with a tenth; a unit from two of it on.
_TENTHS = 9.95
_TWO = 2
_MINUTE = 60


def silent_worker(worker: Seen) -> str:
    return f"{worker.name} is dead or frozen: it has not reported for {seconds(worker.seen_ago)}"


def stopping(worker: Seen) -> str:
    held = (
        f", and finishes {longest(worker.report)}"
        if worker.report.running
        else ", and has nothing left to finish"
    )
    return f"{worker.name} is stopping for {seconds(worker.report.stopping)}{held}"


def stuck(worker: Seen) -> str:
    report = worker.report
    free = report.slots - len(report.running)
    return (
        f"{worker.name} took a message that no process of its pool begins for"
        f" {seconds(report.waited)}, although {free} of {report.slots} are free:"
        " frozen or deadlocked"
    )


def busy(worker: Seen) -> str:
    report = worker.report
    held = f", and {report.unstarted} more are taken" if report.unstarted else ""
    return (
        f"{count(report.slots, 'slot')} of {worker.name}, all busy, the longest with"
        f" {longest(report)}{held}"
    )


def longest(report: Report) -> str:
    longest = max(report.running, key=lambda each: each.seconds)
    return f"{longest.task} for {seconds(longest.seconds)}"


def since(target: Seen) -> str:
    if target.returned_ago is None:
        return f"yet; it was asked {seconds(target.asked_ago)} ago"
    return f"for {seconds(target.returned_ago)}"


def count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def seconds(value: float | None) -> str:
    """`7.5 s`, `42 s`, `6 min 52 s`, `3 h 5 min`."""
    if value is None:
        return "some time"
    if value < _TENTHS:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < _TWO * _MINUTE:
        return f"{whole} s"
    large, small, size = ("min", "s", 1) if whole < _TWO * 3600 else ("h", "min", _MINUTE)
    many, rest = divmod(whole // size, _MINUTE)
    return f"{many} {large} {rest} {small}" if rest else f"{many} {large}"
