"""Which addresses name a server of Redis, and which name the same one."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from reliable.redis import check_url, passwords, same_instance


@pytest.mark.parametrize(
    ("broker", "cache"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/1"),
        ("redis://localhost/0", "redis://127.0.0.1:6379/1"),
        ("redis://[::1]:6379", "redis://localhost?db=3"),
        ("redis://:password@redis.example.com/0", "rediss://app:password@REDIS.example.com:6379/1"),
        ("redis+socket:///run/redis.sock?virtual_host=0", "unix:///run//redis.sock?db=1"),
        ("redis+socket:///run/my%20redis.sock", "unix:///run/my redis.sock"),
        ("redis://a.example.com;redis://b.example.com", "redis://b.example.com/2"),
    ],
)
def test_one_instance_is_recognized_under_two_addresses(broker: str, cache: str) -> None:
    assert same_instance(broker, cache)


@pytest.mark.parametrize(
    ("broker", "cache"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6380/0"),
        ("redis://a.example.com/0", "redis://b.example.com/0"),
        ("redis+socket:///run/broker.sock", "unix:///run/cache.sock"),
        ("redis+socket:///run/broker.sock", "redis://localhost/0"),
    ],
)
def test_two_instances_are_told_apart(broker: str, cache: str) -> None:
    assert not same_instance(broker, cache)


@pytest.mark.parametrize("url", ["", "xyz", "amqp://localhost", "redis://a:port", "redis://a;"])
def test_what_is_no_address_is_refused_with_the_variable_and_an_example(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"BROKER_URL .* BROKER_URL=redis://:password@"):
        check_url("BROKER_URL", url)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://127.0.0.1:6379/0", set()),
        ("redis://app@redis.example.com:6379/0", set()),
        ("redis+socket:///run/redis.sock", set()),
        ("rediss://:pass@redis.example.com:6379/0", {"pass"}),
        ("redis://app:p%40ss@redis.example.com/0", {"p%40ss", "p@ss"}),
        ("redis://app:p@ss@redis.example.com/0", {"p@ss"}),
        ("sentinel://:one@a.example.com:26379;sentinel://:two@b.example.com", {"one", "two"}),
    ],
)
def test_the_passwords_of_an_address_are_known_as_written_and_as_sent(
    url: str, found: set[str]
) -> None:
    assert set(passwords(url)) == found
