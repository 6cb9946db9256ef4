from django import template

register = template.Library()


@register.filter
def money(cents: int) -> str:
    """Cents as people write them: 1250 is €12.50."""
    return f"€{cents // 100:,}.{cents % 100:02}"
