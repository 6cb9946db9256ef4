"""The users: their administrator, and their sessions."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tasks import clear_expired_sessions


def password_of_the_administrator(capsys: pytest.CaptureFixture[str]) -> str:
    call_command("superuser")
    return capsys.readouterr().out.splitlines()[0].split("password: ")[1]


def test_the_administrator_logs_in_with_the_password_that_was_printed(
    db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    password = password_of_the_administrator(capsys)
    browser = Client()
    assert browser.login(username="admin", password=password)
    assert browser.get("/admin/", secure=True).status_code == 200


def test_a_second_call_gives_the_same_administrator_a_new_password(
    db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    first = password_of_the_administrator(capsys)
    second = password_of_the_administrator(capsys)
    administrator = User.objects.get()
    assert administrator.check_password(second)
    assert not administrator.check_password(first)


def test_expired_sessions_are_deleted_and_others_stay(db: None) -> None:
    now = timezone.now()
    for key, expiry in (("old", now - timedelta(hours=1)), ("new", now + timedelta(hours=1))):
        Session.objects.create(session_key=key, session_data="", expire_date=expiry)
    clear_expired_sessions()
    assert [session.session_key for session in Session.objects.all()] == ["new"]


def test_the_first_page_answers(db: None, client: Client) -> None:
    assert client.get("/", secure=True, follow=True).status_code == 200
