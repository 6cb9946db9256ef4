"""Who may do what on provisioned hosts."""

import time
from collections.abc import Iterator

import pytest

from hosts.fleet import Host
from hosts.site import Site
from hosts.test_provision import ask_postgresql, ask_redis, https, variables

pytestmark = [pytest.mark.hosts, pytest.mark.long]


@pytest.fixture(scope="module")
def site(shared: Site) -> Site:
    return shared


@pytest.fixture
def stranger(site: Site) -> Iterator[Host]:
    """A host of the same network that is not the project's, with a driver for PostgreSQL."""
    layer = site.hosts["data1"].lower[0]
    host = site.fleet.host("stranger", layer).start()
    yield host
    host.destroy()


def test_the_account_owns_its_database_and_nothing_else(site: Site) -> None:
    data = site.hosts["data1"]
    secret = site.secrets()["vault_database_password"]
    url = f"postgresql://{site.slug}:{secret}@127.0.0.1/{site.slug}"
    assert "done" in ask_postgresql(data, url, "CREATE TABLE mine (id int)")
    assert "done" in ask_postgresql(data, url, "DROP TABLE mine")
    for statement in (
        "CREATE DATABASE other",
        "CREATE ROLE other",
        "COPY (SELECT 1) TO PROGRAM 'true'".replace("'", "$$"),
        "SELECT pg_read_file($$/etc/passwd$$)",
    ):
        assert "InsufficientPrivilege" in ask_postgresql(data, url, statement), statement
    for database in ("postgres", "template1"):
        answer = ask_postgresql(data, url.replace(f"/{site.slug}", f"/{database}"), "SELECT 1")
        assert "no pg_hba.conf entry" in answer, database


def test_the_database_is_reached_by_the_projects_hosts_alone_and_over_tls(
    site: Site, stranger: Host
) -> None:
    app = site.hosts["app1"]
    url = variables(app, site)["DATABASE_URL"]
    assert url.endswith("?sslmode=require")
    answer = ask_postgresql(stranger, url, "SELECT 1")
    assert f'no pg_hba.conf entry for host "{stranger.address}"' in answer
    # The same host, once the project knows its address, and once it forgoes TLS.
    data = site.hosts["data1"]
    rules = data.run("find", "/etc/postgresql", "-name", "pg_hba.conf").stdout.strip()
    before = data.read(rules)
    data.write(rules, before.replace(app.address, stranger.address), mode="0640")
    try:
        data.run("chown", "postgres:", rules)
        data.run("service", "postgresql", "reload")
        stranger.wait(lambda: "(1,)" in ask_postgresql(stranger, url, "SELECT 1"), "is not let in")
        plain = url.replace("require", "disable")
        assert "no encryption" in ask_postgresql(stranger, plain, "SELECT 1")
        wrong = url.replace(site.secrets()["vault_database_password"], "guess")
        assert "password authentication failed" in ask_postgresql(stranger, wrong, "SELECT 1")
    finally:
        data.write(rules, before, mode="0640")
        data.run("chown", "postgres:", rules)
        data.run("service", "postgresql", "reload")


def test_broker_and_cache_are_two_servers_that_want_their_own_passwords(site: Site) -> None:
    app = site.hosts["app1"]
    names = variables(app, site)
    broker, cache = names["BROKER_URL"], names["CACHE_URL"]
    address = site.hosts["data1"].address
    for port in (6379, 6380):
        answer = ask_redis(app, f"redis://:@{address}:{port}/0", "GET", "x")
        assert "NOAUTH" in answer
    crossed = broker.replace(":6379", ":6380")
    assert "WRONGPASS" in ask_redis(app, crossed, "PING")
    for url, policy, log in ((broker, "noeviction", "yes"), (cache, "allkeys-lru", "no")):
        assert policy in ask_redis(app, url, "CONFIG", "GET", "maxmemory-policy")
        assert f"\n{log}\n" in ask_redis(app, url, "CONFIG", "GET", "appendonly")
        assert "268435456" in ask_redis(app, url, "CONFIG", "GET", "maxmemory")


def test_the_broker_keeps_what_it_was_given_over_a_power_cut_and_the_cache_need_not(
    site: Site,
) -> None:
    data, app = site.hosts["data1"], site.hosts["app1"]
    names = variables(app, site)
    for url in (names["BROKER_URL"], names["CACHE_URL"]):
        assert "+OK" in ask_redis(app, url, "SET", "kept", "yes")
    time.sleep(1.5)  # appendfsync everysec: what is promised is all but the last second
    data.kill()
    data.start()

    def answers() -> bool:
        answer = ask_redis(app, names["BROKER_URL"], "GET", "kept")
        return "yes" in answer

    data.wait(answers, "has lost what the broker held")
    assert "$-1" in ask_redis(app, names["CACHE_URL"], "GET", "kept")


def test_nginx_refuses_names_that_are_not_the_sites(site: Site) -> None:
    app = site.hosts["app1"]
    with pytest.raises(OSError, match=r"(?i)unrecognized.name|handshake"):
        https(app, name="other.test")


def test_the_account_can_write_only_where_it_must(site: Site) -> None:
    app = site.hosts["app1"]
    # Folders like /tmp, where each may write but not change what another has written, are no harm.
    kinds = ("(", "-type", "d", "-o", "-type", "f", ")", "-not", "-perm", "-1000")
    find = ("find", "/", "-xdev", *kinds, "-writable")
    found = app.run(*find, user=site.slug, check=False).stdout.split()
    allowed = (f"/srv/{site.slug}/run", f"/var/log/{site.slug}")
    assert [path for path in found if not path.startswith(allowed)] == []
    assert f"/srv/{site.slug}/run" in found
    assert app.run("getent", "passwd", site.slug).stdout.endswith("/usr/sbin/nologin\n")
