"""Deploys under load: nothing is lost, killed, doubled or refused, and nobody waits for a task.

One story, since its hosts and its load are dear; each promise is a test of what it saw.
"""

import itertools
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from hosts.deploys import Deploys, wait
from hosts.fleet import Host
from hosts.load import Answer, Count, Visitors

pytestmark = pytest.mark.hosts

# `make test-hosts` runs five; CI's form fewer.
DEPLOYS = int(os.environ.get("DEPLOYS", "5"))
# Seconds of a long task, and how often one is sent, of each kind.
LONG, EVERY = 20, 8
# How many of the first releases begin a task that ends only after the last deploy.
OUTLASTED = 2


@dataclass
class Story:
    """What the deploys, and afterwards the usual restart, did to visitors and tasks."""

    releases: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    counts: dict[str, Count] = field(default_factory=dict)
    # Tasks that outlast all further deploys, of the first two releases: who ended each.
    outlasting: list[list[str]] = field(default_factory=list)
    # What `make status` showed meanwhile, and whether all of that was gone at last.
    shown: str = ""
    collected: bool = False
    # Release to the kinds of task that it ended.
    ended: dict[str, set[str]] = field(default_factory=dict)
    # What the usual restart did, in the same run.
    usual_answers: list[Answer] = field(default_factory=list)
    usual_counts: dict[str, Count] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(deploys: Deploys) -> Story:
    story = Story()
    story.releases.append(deploys.current(deploys.web[0]))
    outlasting: list[str] = []
    long = {"report_durable": (LONG, EVERY), "report_plain": (LONG, EVERY)}
    each = {"short_durable": 2, "short_plain": 1, "email_plain": 1, "charge_durable": 1}
    with Visitors(deploys.web, deploys.domain, each=each, long=long) as visitors:
        for number in range(DEPLOYS):
            if number < OUTLASTED:
                outlasting.append(begun(deploys))
            story.releases.append(deploys.commit(f"Change {number}"))
            began = time.monotonic()
            deploys.deployed()
            story.seconds.append(time.monotonic() - began)
        story.shown = deploys.site.make("status").output
    story.answers = visitors.answers
    for task in outlasting:
        deploys.free(task)
    story.counts = deploys.settled()
    story.outlasting = [deploys.ended_by(task) for task in outlasting]
    rows = deploys.query("SELECT DISTINCT release, kind FROM drill_effect WHERE event = 'ended'")
    for release, kind in rows:
        story.ended.setdefault(release, set()).add(kind)
    wait(lambda: len(deploys.everywhere()) == 1, "old generations are not collected", 60)
    story.collected = True
    make_usual(deploys)
    deploys.query("TRUNCATE drill_effect")
    with Visitors(deploys.web, deploys.domain, each=each, long=long) as visitors:
        wait(lambda: visitors.elapsed > LONG, "time stands still", 2 * LONG)
        with ThreadPoolExecutor() as pool:
            slug = deploys.site.slug
            list(pool.map(lambda host: control(host, slug, "restart", "all"), deploys.app_hosts))
        wait(lambda: not visitors.answers[-1].error, "the site does not come back", 60)
    story.usual_answers = visitors.answers
    story.usual_counts = deploys.settled(3 * LONG)
    return story


def begun(deploys: Deploys) -> str:
    """A task that has begun, and ends when it is freed."""
    [task] = deploys.ask(report_durable=-1)["sent"]
    wait(lambda: bool(deploys.begun_by(task)), "no long task began", 60)
    return str(task)


SUPERVISORCTL = ("/opt/supervisor/bin/supervisorctl", "--serverurl")


def make_usual(deploys: Deploys) -> None:
    """Run the same programs as most projects do: supervisor's own stop wait, and stopasgroup."""
    slug = deploys.site.slug
    folder = f"/etc/{slug}/supervisor/conf.d"
    for host in deploys.app_hosts:
        [live] = deploys.generations(host)
        text = host.read(f"{folder}/{live}.conf").replace(live, "usual")
        text = re.sub("(?m)^stopwaitsecs=.*\n", "", text)
        text = text.replace("stopasgroup=false", "stopasgroup=true")
        host.write(f"{folder}/usual.conf", text)
        control(host, slug, "reread")
        control(host, slug, "add", "generation-usual")
        if host in deploys.web:
            host.run(
                "sh", "-c", f"until test -S /srv/{slug}/run/web-usual.sock; do sleep 0.1; done"
            )
            host.run("ln", "-sfn", "web-usual.sock", f"/srv/{slug}/run/web.sock")
        control(host, slug, "stop", f"generation-{live}:*")
        host.run("rm", f"{folder}/{live}.conf")


def control(host: Host, slug: str, *command: str) -> None:
    """`supervisorctl`, as the usual deploy script calls it."""
    address = f"unix:///srv/{slug}/run/supervisor.sock"
    host.run(*SUPERVISORCTL, address, *command, check=False)


def test_no_request_fails(story: Story) -> None:
    failed = [answer for answer in story.answers if answer.error]
    print(f"{len(failed)} of {len(story.answers)} requests failed over {DEPLOYS} deploys")
    assert not failed
    assert len(story.answers) > 100


def test_every_release_answers(story: Story) -> None:
    assert {answer.release for answer in story.answers} == {*story.releases}


def test_no_task_is_lost_killed_or_doubled(story: Story) -> None:
    for count in story.counts.values():
        print(count)
        assert count.sent > 0
        assert (count.lost, count.doubled, count.repeated, count.moved) == (0, 0, 0, 0)


def test_each_release_works_on_every_queue(story: Story) -> None:
    short = {"short_durable", "short_plain", "email_plain", "charge_durable"}
    for release in story.releases[1:]:
        assert short <= story.ended[release]
    assert {"report_durable", "report_plain"} <= story.ended[story.releases[-1]]


def test_no_deploy_waits_for_a_task(story: Story) -> None:
    """A task ran all the time."""
    print("deploys took", [round(seconds) for seconds in story.seconds], "s")
    assert len(story.outlasting) == min(DEPLOYS, OUTLASTED)
    assert all(len(ended) == 1 for ended in story.outlasting)


def test_a_task_that_outlasts_deploys_ends_once_on_the_release_that_began_it(story: Story) -> None:
    began = story.releases[: len(story.outlasting)]
    assert story.outlasting == [[release] for release in began]


def test_old_generations_are_shown_with_what_they_run_until_they_are_collected(
    story: Story,
) -> None:
    """With two deploys or more, three generations at once on the workers' host."""
    for release in story.releases[: len(story.outlasting)]:
        assert f"release {release}  finishes what it holds" in story.shown
    assert f"release {story.releases[-1]}  works" in story.shown
    assert "report_durable for" in story.shown
    assert story.collected


def test_the_web_is_switched_from_one_release_to_the_next(story: Story) -> None:
    """The overlap is printed: for so long both releases answered, on the two web hosts."""
    overlaps = []
    for old, new in itertools.pairwise(story.releases):
        last = max(answer.at for answer in story.answers if answer.release == old)
        first = min(answer.at for answer in story.answers if answer.release == new)
        overlaps.append(round(last - first, 2))
    print("from the first answer of a new release to the last of the old:", overlaps, "s")
    # A visitor comes each 0.1 s; the old release is not asked any more when the new one works.
    assert max(overlaps) < min(story.seconds)


def test_the_usual_restart_fails_requests_and_kills_tasks(story: Story) -> None:
    """The same site, load and run: what the other tests would see if they could see nothing."""
    failed = [answer for answer in story.usual_answers if answer.error]
    killed = sum(count.killed for count in story.usual_counts.values())
    print(f"restart all: {len(failed)} of {len(story.usual_answers)} requests failed,")
    print(
        f"{killed} tasks were killed, {sum(c.lost for c in story.usual_counts.values())} not done"
    )
    for count in story.usual_counts.values():
        print(count)
    assert failed
    assert killed
