"""The last day of a queue's answers, as paths of an inline SVG. Reads nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from reliable.probes.sentences import seconds

#: Points of a curve, and the seconds of each: a day.
POINTS, STEP = 48, 1800
#: The drawing's own units.
WIDTH, HEIGHT = 141, 32

# Seconds that stand at the bottom. The scale is logarithmic: a promise may be a minute or an hour,
# and answers take hundredths of a second.
_LEAST = 0.01
# Room for the line's own width.
_MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Curve:
    """line: the slowest answer of each half-hour, with gaps where none came. promise: the height of
    the queue's promise. over: where it was broken, as (x, y). says: the same for who cannot see.
    """

    line: str
    promise: float
    over: Sequence[tuple[float, float]]
    says: str


def curve(slowest: Mapping[int, float], warn: float) -> Curve:
    """slowest: seconds by how many steps ago, 0 is now. warn: the promise in seconds."""
    top = math.log(max(2 * warn, *slowest.values(), 2 * _LEAST))
    bottom = math.log(_LEAST)

    def height(value: float) -> float:
        share = (math.log(max(value, _LEAST)) - bottom) / (top - bottom)
        return round(HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN), 1)

    places = {(POINTS - 1 - ago) * 3: value for ago, value in slowest.items() if 0 <= ago < POINTS}
    there = sorted(places)
    pieces = []
    # Neighbours have the same distance between place and number.
    for _, run in groupby(enumerate(there), key=lambda each: each[1] - 3 * each[0]):
        piece = [f"{x} {height(places[x])}" for _, x in run]
        # A lone point is a line to itself, which a round cap makes a dot.
        pieces.append("M" + " L".join(piece if len(piece) > 1 else piece * 2))
    return Curve(
        line=" ".join(pieces),
        promise=height(warn),
        over=[(x, height(places[x])) for x in there if places[x] > warn],
        says=_says(places, warn),
    )


def _says(places: Mapping[int, float], warn: float) -> str:
    if not places:
        return "no answer in the last 24 hours"
    slow = sum(value > warn for value in places.values())
    broken = f"later than the promised {seconds(warn)} in {slow} of {len(places)} half-hours"
    kept = f"always within the promised {seconds(warn)}"
    slowest = seconds(max(places.values()))
    return f"last 24 hours: the slowest answer took {slowest}, {broken if slow else kept}"
