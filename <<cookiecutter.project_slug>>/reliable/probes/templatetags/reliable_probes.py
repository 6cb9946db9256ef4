"""How the operations page says states, times and numbers."""

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from reliable.probes import numbers, sentences
from reliable.probes.states import State

register = template.Library()

# A colour is never alone: each state has a mark of its own shape, and a word.
_MARKS: dict[str, str] = {
    State.OK: "✓",
    State.LATE: "!",
    State.SILENT: "✕",
    State.UNSENT: "✕",
    State.PAUSED: "‖",
    State.UNKNOWN: "?",
}
# Below that hundredths are shown.
_HUNDREDTHS = 9.995
# Below that other places show tenths, which say nothing of when.
_TENTHS = 10


@register.simple_tag
def state_of(state: str, word: str = "") -> SafeString:
    """A badge: the mark, and the state's own word or another one."""
    return format_html(
        '<span class="ro-state ro-{}"><span class="ro-mark" aria-hidden="true">{}</span> {}</span>',
        state,
        _MARKS.get(state, "·"),
        word or state,
    )


@register.filter
def lasting(seconds: float | None) -> str:
    """`42 s`, `6 min 52 s`."""
    return "-" if seconds is None else sentences.seconds(seconds)


@register.filter
def latency(seconds: float | None) -> str:
    """`0.04 s`, `42 s`."""
    if seconds is None:
        return "unknown"
    return f"{seconds:.2f} s" if seconds < _HUNDREDTHS else sentences.seconds(seconds)


@register.filter
def known(number: int | None) -> str:
    """A number, or `unknown`: what nobody could count is not 0."""
    return "unknown" if number is None else counted(number)


@register.filter
def counted(number: int) -> str:
    """`37`, or `10,000 or more`."""
    return numbers.counted(number)


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """`3 min ago`, or `in 2 h`; the moment itself stands behind it."""
    if moment is None:
        return "never"
    seconds = (timezone.now() - moment).total_seconds()
    # The largest unit alone: a list is read at a glance.
    whole = abs(round(seconds))
    lasts = f"{whole} s" if whole < _TENTHS else " ".join(sentences.seconds(whole).split()[:2])
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z"),
        f"{lasts} ago" if seconds >= 0 else f"in {lasts}",
    )
