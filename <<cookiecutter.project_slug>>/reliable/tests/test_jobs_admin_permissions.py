"""The admin of jobs and queues: who may look, and who may change what."""

import re

from django.contrib.auth import get_user_model
from django.test import Client

from reliable.jobs import State, changes, operations
from reliable.jobs.models import Queue
from reliable.jobs.selection import Selection
from reliable.tests.pages import JOBS, QUEUES, a_job, seen
from reliable.tests.staff import somebody, state_of, words


def test_who_may_only_look_sees_no_button_and_is_refused(viewer: Client) -> None:
    job = a_job()
    a_job("waiting")
    change = changes.begin(
        operations.OPERATIONS["retry"], Selection(), by="ada", reason="x", matched=1
    )
    for address in (
        JOBS,
        f"{JOBS}{job.pk}/change/",
        f"{JOBS}groups/",
        f"{JOBS}changes/",
        f"{JOBS}changes/{change.pk}/",
        QUEUES,
    ):
        main = seen(viewer, address).split('id="content-main"')[-1]
        assert not re.search('Retry|Discard…|Cancel…|Pause|method="post"', main), address
        assert "checkbox" not in main, address
    assert viewer.get(f"{JOBS}preview/", {"operation": "retry"}).status_code == 403
    for address, data in (
        (f"{JOBS}begin/", {"operation": "retry"}),
        (f"{JOBS}changes/{change.pk}/continue/", {}),
        (f"{JOBS}changes/{change.pk}/stop/", {}),
        (f"{QUEUES}operate/", {"operation": "pause", "queue": "mail"}),
    ):
        assert viewer.post(address, data).status_code == 403, address
    assert state_of(job) == State.FAILED
    assert not Queue.objects.exists()


def test_who_may_not_look_sees_nothing(db: None) -> None:
    stranger = somebody("mallory")
    job = a_job()
    for address in (JOBS, f"{JOBS}groups/", f"{JOBS}{job.pk}/change/", QUEUES):
        assert stranger.get(address).status_code == 403, address
    outside = Client(headers={"x-forwarded-proto": "https"})
    assert outside.get(JOBS).status_code == 302


def test_operating_jobs_is_not_operating_queues(db: None) -> None:
    client = somebody("ada", "operate_job")
    assert client.get(QUEUES).status_code == 403
    assert client.post(f"{QUEUES}operate/", {"operation": "pause"}).status_code == 403
    assert "Queues" not in words(seen(client, JOBS))


def test_a_change_needs_a_post_with_a_token(operator: Client) -> None:
    job = a_job()
    assert operator.get(f"{JOBS}begin/", {"operation": "retry"}).status_code == 405
    strict = Client(enforce_csrf_checks=True, headers={"x-forwarded-proto": "https"})
    strict.force_login(get_user_model().objects.get(username="ada"))
    assert strict.post(f"{JOBS}begin/", {"operation": "retry"}).status_code == 403
    assert state_of(job) == State.FAILED


def test_there_is_no_add_no_form_and_no_delete(db: None) -> None:
    root = get_user_model().objects.create_superuser("root")
    client = Client(headers={"x-forwarded-proto": "https"})
    client.force_login(root)
    job = a_job()
    assert client.get(f"{JOBS}add/").status_code == 404
    assert client.get(f"{JOBS}{job.pk}/delete/").status_code == 404
    assert client.post(f"{JOBS}{job.pk}/change/").status_code == 405
    assert 'href="/admin/reliable_jobs/job/"' in seen(client, "/admin/")
