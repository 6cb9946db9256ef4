"""Who is told what: on real processes that are broken, and by servers that are."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import override_settings

from reliable.probes import mutes
from reliable.probes.alarms import mail, switch, webhook
from reliable.probes.alarms.duty import to_tell
from reliable.probes.alarms.message import Alarm
from reliable.probes.alarms.options import Outlets, outlets
from reliable.probes.alarms.post import Post
from reliable.probes.states import State
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from reliable.tests.listening import Listener, Mailbox, serving
from reliable.tests.probed import Probed

ALARM = Alarm(
    kind="queue",
    target="mail",
    state=State.SILENT,
    before=State.OK,
    lasted=60.0,
    hop="worker",
    why="mail has not answered for 42 s: its worker is dead.",
    runbook="worker-silent",
)
WELL = Alarm("queue", "mail", State.OK, State.SILENT, 60.0, "", "mail answers in 0.02 s.", "")


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    with serving(listener.server):
        yield listener
        listener.answers.set()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    with serving(mailbox.server):
        yield mailbox


@pytest.fixture
def probed(system: System, listener: Listener, mailbox: Mailbox) -> Probed:
    """A system that tells the two servers."""
    told = {
        "ping": f"{listener.url}/ping/secret?create=1",
        "webhook": f"{listener.url}/hook/secret",
        "mail": ["ops@example.com"],
        "runbooks": "https://example.com/admin/runbooks/",
    }
    mailer = f"""
EMAIL_BACKEND = "somebody.elses.CeleryEmailBackend"
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", {mailbox.port}
"""
    probed = Probed(system, f"RELIABLE_ALARMS = {told!r}\n{mailer}")
    system.relay()
    return probed


def _hooked(listener: Listener) -> list[tuple[str, str, str]]:
    """Target, and what it became of what, in the order in which the webhook heard it."""
    return [
        (each["target"].partition("@")[0], each["before"], each["state"])
        for post in listener.posts
        if post.path == "/hook/secret"
        for each in json.loads(post.text)["alarms"]
    ]


def _told(listener: Listener, state: str) -> list[str]:
    """Of what has to do with mail."""
    told = [name for name, _, became in _hooked(listener) if became == state]
    return sorted(name for name in told if name.startswith("mail"))


def _pings(listener: Listener) -> list[str]:
    return [path for path in listener.paths() if path.startswith("/ping")]


def _command(system: System, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", "queues", *arguments],
        cwd=settings.SUPERVISOR["directory"],
        env=system.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_each_change_is_told_once_although_two_beats_and_a_worker_look(
    probed: Probed, listener: Listener, mailbox: Mailbox
) -> None:
    probed.worker("default", reads=["critical", "slow", "default"])
    worker = probed.worker("mail")
    processes = [probed.system.beat(), probed.system.beat(release="b"), worker]
    probed.wait_until_well("beat", "mail", "mail.jobs", "mail-a", "default-a")
    wait_until(lambda: "/ping/secret?create=1" in listener.paths(), "the switch to hear of it")
    assert _hooked(listener) == []

    worker.kill()
    everybody = ["mail", "mail-a", "mail.jobs"]
    wait_until(lambda: _told(listener, "silent") == everybody, "the alarms", saw=probed.states)
    wait_until(lambda: "/ping/secret/fail?create=1" in listener.paths(), "the switch to hear")
    last = json.loads([post for post in listener.posts if post.path == "/hook/secret"][-1].text)
    [alarm, *_] = last["alarms"]
    assert alarm["runbook"] == "https://example.com/admin/runbooks/worker-silent/"
    assert alarm["why"] in last["text"]

    worker.wait()
    worker.start()
    worker.wait_for_output(" ready.", count=2)
    wait_until(lambda: _told(listener, "ok") == everybody, "that all are well", saw=probed.states)
    assert _told(listener, "silent") == everybody
    wait_until(lambda: _pings(listener)[-1] == "/ping/secret?create=1", "a ping that all is well")
    assert len(_pings(listener)) < 8
    # Each message that the one got, the others got once.
    wait_until(lambda: len(mailbox.messages) == listener.paths().count("/hook/secret"), "the mail")
    for process in processes:
        assert "secret" not in process.output


def test_a_deploy_mutes_and_what_still_fails_at_its_end_is_told_then(
    probed: Probed, listener: Listener
) -> None:
    worker = probed.worker("mail", reads=["critical", "mail", "slow", "default"])
    probed.system.beat()
    probed.wait_until_well("beat", "mail", "mail-a")
    assert "Nobody is told anything until" in _command(
        probed.system, "--mute", "300", "--why", "deploy", "--by", "ada"
    )
    worker.kill()
    wait_until(lambda: probed.state("mail") == "silent", "it to be noticed", saw=probed.states)
    assert "by ada (deploy)" in _command(probed.system)
    assert _hooked(listener) == []
    assert "/ping/secret/fail?create=1" not in listener.paths()

    assert "told again" in _command(probed.system, "--unmute")
    wait_until(lambda: ("mail", "ok", "silent") in _hooked(listener), "the alarm")
    assert ("mail", "ok", "late") not in _hooked(listener)
    wait_until(lambda: "/ping/secret/fail?create=1" in listener.paths(), "the switch")


def test_sentry_gets_an_event_of_what_fails_and_none_of_the_log_lines(
    system: System, listener: Listener
) -> None:
    system.environment["SENTRY_DSN"] = listener.url.replace("//", "//key@") + "/1"
    probed = Probed(system)
    worker = probed.worker("mail", reads=["critical", "mail", "slow", "default"])
    beat = system.beat()
    probed.wait_until_well("beat", "mail", "mail-a")

    def events(target: str) -> list[Any]:
        items = [
            json.loads(line)
            for post in listener.posts
            for line in post.text.splitlines()
            if line.startswith("{") and '"event_id"' in line
        ]
        return [each for each in items if each.get("fingerprint") == ["probe", "queue", target]]

    worker.kill()
    wait_until(lambda: events("mail")[-1:], "an event", saw=lambda: listener.posts)
    wait_until(
        lambda: events("mail")[-1]["tags"]["probe.state"] == "silent",
        "the last event",
        saw=lambda: events("mail"),
    )
    event = events("mail")[-1]
    assert (event["level"], event["tags"]["probe.hop"]) == ("error", "worker")
    assert event["message"].endswith("Runbook: docs/runbooks/worker-silent.md")
    worker.wait()
    worker.start()
    probed.wait_until_well("mail")
    beat.terminate()
    beat.wait()
    states = [each["tags"]["probe.state"] for each in events("mail")]
    assert states in (["silent"], ["late", "silent"])
    assert not [post for post in listener.posts if "reliable.probes.changes" in post.text]


@pytest.mark.django_db
def test_a_mute_ends_by_itself() -> None:
    mutes.mute(60, by="ada", why="deploy")
    assert mutes.muted() is not None
    mutes.mute(0.2, by="ada", why="deploy")
    wait_until(lambda: mutes.muted() is None, "its end", timeout=5)
    assert not mutes.unmute(by="ada")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "options",
    [{"mute": 60, "wait": 60}, {"mute": 0}, {"why": "deploy"}, {"watch": True, "unmute": True}],
)
def test_what_does_not_go_together_changes_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        call_command("queues", **options)
    assert mutes.muted() is None


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [0, -1, 3601, float("nan")])
def test_nobody_mutes_for_ever(seconds: float) -> None:
    with pytest.raises(ValueError, match="1 to 3600 seconds"):
        mutes.mute(seconds, by="ada", why="")
    assert mutes.muted() is None


@pytest.mark.parametrize(
    ("told", "state", "is_told"),
    [
        ("ok", "late", True),
        ("ok", "silent", True),
        ("late", "silent", True),
        ("silent", "unsent", True),
        ("silent", "ok", True),
        ("silent", "late", False),
        ("silent", "silent", False),
        ("ok", "paused", False),
        ("silent", "paused", False),
        ("ok", "unknown", False),
        ("ok", "ok", False),
    ],
)
def test_what_somebody_is_told(told: str, state: str, *, is_told: bool) -> None:
    assert to_tell(State(told), State(state)) is is_told


# --- Outlets -------------------------------------------------------------------------------------


def test_a_webhook_that_does_not_answer_holds_nobody_up(listener: Listener) -> None:
    listener.answers.clear()
    post = Post()
    begun = time.monotonic()
    for _ in range(200):  # more than may wait
        post.send("webhook", partial(webhook.send, Outlets(webhook=listener.url), [ALARM]))
    assert time.monotonic() - begun < 0.5
    listener.answers.set()
    wait_until(lambda: len(listener.posts) >= 50, "those that wait")
    post.close()


def test_all_outlets_can_be_tried(listener: Listener, mailbox: Mailbox) -> None:
    out = StringIO()
    with (
        override_settings(
            RELIABLE_ALARMS={
                "ping": f"{listener.url}/ping",
                "webhook": "http://127.0.0.1:9/secret",
                "mail": ["ops@example.com"],
            },
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST="127.0.0.1",
            EMAIL_PORT=mailbox.port,
            EMAIL_USE_TLS=False,
            EMAIL_USE_SSL=False,
        ),
        pytest.raises(CommandError, match="Not every outlet"),
    ):
        call_command("queues", "--test-alarms", stdout=out)
    assert out.getvalue().splitlines() == [
        "webhook: ConnectionRefusedError: Connection refused",
        "mail: sent",
        "ping: sent",
    ]
    assert len(mailbox.messages) == len(listener.posts) == 1


def test_where_nobody_is_told_the_trial_says_so() -> None:
    with (
        override_settings(RELIABLE_ALARMS={}, ADMINS=[]),
        pytest.raises(CommandError, match="names nobody"),
    ):
        call_command("queues", "--test-alarms")


@pytest.mark.parametrize(("status", "said"), [(500, "HTTP 500"), (302, "HTTP 302"), (0, "refused")])
def test_what_cannot_be_sent_is_tried_again_and_logged_once_without_the_address(
    listener: Listener, caplog: pytest.LogCaptureFixture, status: int, said: str
) -> None:
    listener.status = status or 200
    listener.location = f"{listener.url}/elsewhere"
    url = f"{listener.url}/secret" if status else "http://127.0.0.1:9/secret"
    post = Post(pauses=(0.05, 0.05))
    caplog.set_level(logging.INFO)
    for _ in range(2):
        post.send("webhook", partial(webhook.send, Outlets(webhook=url), [ALARM]))
    wait_until(lambda: "alarm.not_sent" in caplog.text, "the line", timeout=20)
    if status:
        wait_until(lambda: len(listener.posts) >= 6, "three attempts each", timeout=20)
        listener.status = 200
        post.send("webhook", partial(webhook.send, Outlets(webhook=url), [ALARM]))
        wait_until(lambda: "alarm.sent_again" in caplog.text, "the other line", timeout=20)
        assert set(listener.paths()) == {"/secret"}
    post.close()
    assert caplog.text.count("alarm.not_sent") == 1
    assert said in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/uuid", "/uuid/fail"),
        ("/uuid/", "/uuid/fail"),
        ("/key/slug?create=1", "/key/slug/fail?create=1"),
    ],
)
def test_the_switch_hears_what_is_wrong(listener: Listener, url: str, path: str) -> None:
    switch.send(Outlets(ping=listener.url + url), "", failing=False)
    switch.send(Outlets(ping=listener.url + url), "mail is silent.", failing=True)
    assert listener.posts == [(url, ""), (path, "mail is silent.")]


def test_mail_is_sent_here_whatever_backend_the_project_has(mailbox: Mailbox) -> None:
    with override_settings(
        EMAIL_BACKEND="djcelery_email.backends.CeleryEmailBackend",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=mailbox.port,
        EMAIL_USE_TLS=False,
        EMAIL_USE_SSL=False,
    ):
        mail.send(Outlets(mail=("ops@example.com",)), [WELL, ALARM])
    [message] = mailbox.messages
    assert "Subject: [Django] mail is silent, and 1 more" in message
    assert "docs/runbooks/worker-silent.md" in message
    assert "It was silent for 60 s." in message


@pytest.mark.parametrize(
    "said",
    [
        {"pign": "https://example.com"},
        {"ping": "hc-ping.com/secret"},
        {"webhook": "file:///secret"},
        {"webhook": "https://user:secret@example.com"},
        {"mail": ["secret"]},
    ],
)
def test_what_names_nobody_is_refused_in_words_without_it(said: dict[str, Any]) -> None:
    with (
        override_settings(RELIABLE_ALARMS=said),
        pytest.raises(ImproperlyConfigured, match="RELIABLE_ALARMS") as refused,
    ):
        outlets()
    assert "secret" not in str(refused.value)


@override_settings(RELIABLE_ALARMS={}, ADMINS=[("Ada", "ada@example.com"), "bo@example.com"])
def test_who_names_nobody_means_the_admins() -> None:
    assert outlets().addresses == ["ada@example.com", "bo@example.com"]
