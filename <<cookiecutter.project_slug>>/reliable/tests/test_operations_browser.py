"""The operations page in a real Chromium, under a strict policy, also while real processes die."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from reliable.jobs import ids
from reliable.jobs.models import Job
from reliable.probes.models import Transition
from reliable.testing.browser import NARROW, WIDE, Visitor
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from reliable.tests import watched
from reliable.tests.probed import Probed

pytestmark = pytest.mark.browser

PAGE = "/admin/reliable_probes/target/"
_ALL = ["critical", "mail", "slow", "default"]
_LISTS = [each for name in _ALL for each in (name, f"{name}.jobs")]

FAILURES = (
    ("orders.tasks.charge_order", "mail", "ProviderAway", "orders.payments.Provider.charge", 21),
    ("orders.tasks.email_receipt", "mail", "SMTPServerDisconnected", "orders.services.receipt", 12),
    ("orders.tasks.ship_order", "default", "timed out", "orders.services.ship", 4),
)


@pytest.fixture
def ada(system: System) -> Any:
    """Who may operate."""
    user = get_user_model().objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="operate_target"))
    return user


def _failed() -> None:
    for task, queue, exception, place, number in FAILURES:
        Job.objects.bulk_create(
            Job(
                id=ids.new(),
                task=task,
                queue=queue,
                state="failed",
                exception=exception,
                place=place,
                finished_at=watched.ago(60 * minutes + 40),
            )
            for minutes in range(number)
        )


def _waiting(number: int) -> None:
    Job.objects.bulk_create(
        Job(
            id=ids.new(),
            task="orders.tasks.email_receipt",
            queue="mail",
            run_at=watched.ago(409 - each),
        )
        for each in range(number)
    )


def _silent() -> None:
    watched.a_day("mail", slowest=95)
    watched.silent("mail")
    _waiting(37)


#: What a page shows, and the words that it must say.
STATES: dict[str, tuple[Callable[[], None], str]] = {
    "healthy": (watched.a_day, "answer in time"),
    "broken": (_silent, "mail has not answered for 6 min 5"),
    "beat-dead": (watched.beat_dead, "Beat has not ticked"),
    "redis-down": (watched.broker_down, "The broker has not taken a message"),
    "failed": (_failed, "37 failed jobs wait for a decision"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_each_state_fits_can_be_read_by_everybody_and_keeps_to_the_policy(
    system: System, visitor: Visitor, ada: Any, size: tuple[int, int], scheme: Any
) -> None:
    system.web(release=watched.RELEASE, wsgi="reliable.testing.strict_site")
    page = visitor.window(ada, size=size, scheme=scheme)
    for name, (happen, words) in STATES.items():
        watched.healthy()
        happen()
        answer = page.goto(PAGE)
        assert answer
        assert answer.status == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert words in page.inner_text(".ro-top"), page.inner_text(".ro-top")
        visitor.check_width(page)
        visitor.check_accessibility(page)
        visitor.picture(
            page, f"operations-{name}-{'wide' if size == WIDE else 'narrow'}-{scheme}", whole=True
        )
        Job.objects.all().delete()
        Transition.objects.all().delete()


def test_an_open_page_says_by_itself_what_became_of_the_system(
    system: System, visitor: Visitor, ada: Any
) -> None:
    probed = Probed(system)
    worker = probed.worker("mail", reads=_ALL)
    beat = system.beat()
    system.relay()
    system.web(wsgi="reliable.testing.strict_site")
    probed.wait_until_well("beat", "mail", "mail.jobs", "critical", "slow", "default", "mail-a")
    page = visitor.window(ada)
    page.goto(PAGE)
    page.locator(".ro-top-ok").wait_for(timeout=40_000)
    assert page.title().startswith("all is well")
    probe = page.get_by_role("button", name="Probe now mail")
    probe.click()
    page.get_by_text(re.compile(r"mail answered in \d\.\d\d s, from mail-a@")).wait_for()
    # Whoever is at a button stays there, whatever is fetched meanwhile.
    probe.focus()
    worker.kill()
    page.locator(".ro-top-silent").wait_for(timeout=40_000)
    assert page.title().startswith("broken")
    assert "is dead or frozen" in page.inner_text(".ro-top")
    assert page.locator(".ro-link-silent .ro-link-name").all_inner_texts() == ["workers"]
    assert page.evaluate("document.activeElement.id") == "probe-mail"
    assert page.locator("[data-ro-told]").text_content()
    probed.worker("mail", reads=_ALL, release="b")
    beat.kill()
    page.locator(".ro-link-silent", has_text="beat").wait_for(timeout=40_000)
    assert "has not ticked for" in page.inner_text(".ro-top")


@pytest.mark.own_servers
def test_with_redis_down_the_page_works_and_says_unknown(
    system: System, visitor: Visitor, ada: Any
) -> None:
    probed = Probed(system)
    probed.worker("mail", reads=_ALL)
    system.beat()
    system.relay()
    system.web(wsgi="reliable.testing.strict_site")
    probed.wait_until_well("beat", "mail", "mail.jobs")
    system.servers.processes["broker"].kill()
    system.servers.processes["cache"].kill()
    # Each of them is sent to in a moment of its own.
    wait_until(
        lambda: {probed.state(name) for name in _LISTS} == {"unsent"},
        "the broker to be missed",
        timeout=40,
        saw=probed.states,
    )
    page = visitor.window(ada)
    answer = page.goto(PAGE)
    assert answer
    assert answer.status == 200
    assert "The broker has not taken a message" in page.inner_text(".ro-top")
    assert page.locator(".ro-link-unsent").inner_text().startswith("broker")
    text = page.inner_text(".ro-queues")
    assert "messages unknown" in text
    assert "messages 0" not in text
    page.get_by_role("button", name="Probe now mail").click()
    page.get_by_text("mail could not be asked: ").wait_for()


def test_by_keyboard_and_without_a_script(system: System, visitor: Visitor, ada: Any) -> None:
    watched.healthy()
    _failed()
    system.web(wsgi="reliable.testing.strict_site")
    page = visitor.window(ada, javascript=False)
    page.goto(PAGE)
    retry = page.get_by_role("link", name=re.compile(r"Retry 21 of orders\.tasks\.charge_order"))
    retry.focus()
    page.keyboard.press("Enter")
    page.get_by_text("21 jobs will be retried").wait_for()
    visitor.check_width(page)
    button = page.get_by_role("button", name="Retry 21 jobs")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_text("21 jobs retried: orders.tasks.charge_order").wait_for()
    assert Job.objects.filter(state="waiting").count() == 21
    pause = page.get_by_role("link", name="Pause mail")
    pause.focus()
    page.keyboard.press("Enter")
    # The reason has the focus.
    page.get_by_label("Why").fill("the provider is down")
    page.keyboard.press("Enter")
    page.get_by_text("The queue mail is paused for 15 minutes").wait_for()
    page.get_by_role("button", name="Resume mail").wait_for()


def test_a_page_whose_server_is_gone_says_that_it_is_old(
    system: System, visitor: Visitor, ada: Any
) -> None:
    watched.healthy()
    web = system.web(wsgi="reliable.testing.strict_site")
    page = visitor.window(ada)
    page.goto(PAGE)
    assert page.locator("[data-ro-stale]").is_hidden()
    web.kill()
    page.get_by_text("The server does not answer").wait_for()
    assert any("live/" in each for each in visitor.complaints)
    visitor.complaints.clear()


def test_what_is_printed_has_no_buttons(system: System, visitor: Visitor, ada: Any) -> None:
    watched.healthy()
    system.web(wsgi="reliable.testing.strict_site")
    page = visitor.window(ada)
    page.goto(PAGE)
    page.emulate_media(media="print")
    assert page.get_by_role("button", name=re.compile("Probe now")).count() == 0
    assert page.get_by_text("answer in time").first.is_visible()
