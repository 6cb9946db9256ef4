"""How the admin's pages say moments, durations, states and numbers."""

import json
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from reliable.jobs import times

register = template.Library()

# A colour is never alone.
_MARKS = {
    "held": "◇",
    "waiting": "○",
    "running": "▶",
    "succeeded": "✓",
    "failed": "✕",
    "cancelled": "⊘",
    "expired": "◷",
}


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """`3 min ago`, or `in 2 h`; the moment itself stands behind it."""
    if moment is None:
        return "-"
    seconds = (timezone.now() - moment).total_seconds()
    # The largest unit alone: a list is read at a glance.
    lasts = " ".join(times.lasting(abs(seconds)).split()[:2])
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        times.local(moment),
        f"{lasts} ago" if seconds >= 0 else f"in {lasts}",
    )


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    if value is None:
        return "-"
    return format_html('<time datetime="{}">{}</time>', value.isoformat(), times.local(value))


@register.filter
def state(name: str) -> SafeString:
    return format_html(
        '<span class="rj-state rj-{}"><span aria-hidden="true">{}</span> {}</span>',
        name,
        _MARKS.get(name, "·"),
        name,
    )


@register.filter
def up_to(number: int, most: int) -> str:
    """`1,000+` for what was counted up to a limit."""
    return f"{most:,}+" if number > most else f"{number:,}"


@register.filter
def call(arguments: dict[str, Any]) -> str:
    """`order_id=12, copy=true`."""
    return ", ".join(f"{name}={as_json(value)}" for name, value in arguments.items())


@register.filter
def as_json(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None)


@register.filter
def lasting(seconds: float | None) -> str:
    return "-" if seconds is None else times.lasting(seconds)
