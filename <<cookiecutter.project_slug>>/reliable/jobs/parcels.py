"""Which of the jobs that are due travel in one message: those of a task with `batch`."""

from collections.abc import Sequence
from math import ceil

from reliable.jobs.broker import Offer
from reliable.jobs.durable import registry


def parcels(offers: Sequence[Offer], slots: int) -> list[list[Offer]]:
    """Put jobs of the same task, queue and priority together, in their order, up to `batch`.

    Only what is due now: nobody waits for company. While there are fewer than the slots could take,
    they are spread over them.
    """
    found: list[list[Offer]] = []
    together: dict[tuple[str, str, int], list[Offer]] = {}
    for offer in offers:
        task = registry.get(offer.task)
        if offer.alone or task is None or task.batch == 1:
            found.append([offer])
        else:
            together.setdefault((offer.task, offer.queue, offer.priority), []).append(offer)
    for (name, *_), members in together.items():
        size = min(registry[name].batch, ceil(len(members) / max(1, slots)))
        found.extend(members[start : start + size] for start in range(0, len(members), size))
    return found
