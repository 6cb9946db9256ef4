import json
import re
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import cycle, islice
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

from django.core.management.base import BaseCommand, CommandError, CommandParser

STEPS = ("paid", "receipt sent", "shipped")


class Site:
    """The running site, seen through HTTP as a browser sees it."""

    def __init__(self, url: str, *, via_proxy: bool) -> None:
        self.url = url.rstrip("/")
        # Without "http" the jar keeps the Secure cookies of a production site to itself.
        protocols = ("http", "https") if via_proxy else ("https",)
        policy = DefaultCookiePolicy(secure_protocols=protocols)
        self._opener = build_opener(HTTPCookieProcessor(CookieJar(policy)))
        if via_proxy:
            # What nginx says, and what a browser says to it: Django's CSRF check reads both.
            self._opener.addheaders += [
                ("X-Forwarded-Proto", "https"),
                ("Referer", f"https://{urlsplit(url).netloc}/"),
            ]

    def request(self, path: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """GET, or POST a form; return the address that answered after redirects, and its text."""
        data = urlencode(form).encode() if form else None
        try:
            with self._opener.open(self.url + path, data, timeout=10) as response:
                return response.url, response.read().decode()
        except (OSError, HTTPException) as error:
            raise CommandError(
                f"{self.url}{path} does not answer as it should: {error}. Is the site running?"
                " With production settings its host must be in ALLOWED_HOSTS, and plain HTTP needs"
                " --via-proxy."
            ) from error


@dataclass
class Placed:
    """An order that this command follows, and the steps it has been seen to reach."""

    number: str
    since: float = field(default_factory=time.monotonic)
    reached: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"order {self.number[:8]}…"

    @property
    def missing(self) -> list[str]:
        return [step for step in STEPS if step not in self.reached]

    def look(self, site: Site) -> list[str]:
        """Return the steps that were reached since the last look."""
        found = json.loads(site.request(f"/orders/{self.number}/state/")[1])
        done = {
            "paid": found["state"] in {"paid", "shipped"},
            "receipt sent": found["receipt_sent"],
            "shipped": found["state"] == "shipped",
        }
        new = [step for step in self.missing if done[step]]
        self.reached.update(new)
        return new


class Command(BaseCommand):
    help = "Place orders on the running site, as browsers do, and follow each until it is shipped."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the site runs")
        parser.add_argument("--count", type=int, default=5, help="how many orders")
        parser.add_argument("--timeout", type=float, default=60, help="seconds for all to finish")
        via_proxy = "speak plain HTTP to a production site as its TLS proxy does"
        parser.add_argument("--via-proxy", action="store_true", help=via_proxy)

    def handle(self, *args: Any, **options: Any) -> None:
        url, count, timeout = options["url"], options["count"], options["timeout"]
        if not re.match(r"https?://[^/]", url):
            raise CommandError(f"--url {url!r}: write for example http://127.0.0.1:8000.")
        if count < 1:
            raise CommandError(f"--count {count}: write a number from 1, for example 5.")
        site = Site(url, via_proxy=options["via_proxy"])
        start = time.monotonic()
        orders = self.place(site, count)
        deadline = time.monotonic() + timeout
        while (late := [each for each in orders if each.missing]) and time.monotonic() < deadline:
            for order in late:
                for step in order.look(site):
                    seconds = time.monotonic() - order.since
                    self.stdout.write(f"{order} {step} after {seconds:.1f} s")
            time.sleep(0.1)
        if late:
            raise CommandError(
                "\n".join(
                    f"Order {order.number} is unfinished after {timeout:g} s;"
                    f" missing: {', '.join(order.missing)}."
                    for order in late
                )
            )
        seconds = time.monotonic() - start
        self.stdout.write(f"{count} orders paid, receipted and shipped in {seconds:.1f} s")

    def place(self, site: Site, count: int) -> list[Placed]:
        page = site.request("/")[1]
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        products = re.findall(r'name="product" value="([^"]+)"', page)
        if not token or not products:
            raise CommandError(f"{site.url}/ offers no product; raise a stock in the admin.")
        orders = []
        for product in islice(cycle(products), count):
            form = {"product": product, "quantity": "1", "email": "customer@example.com"}
            address, _ = site.request("/", form | {"csrfmiddlewaretoken": token[1]})
            found = re.search(r"/orders/([0-9a-f-]{36})/$", address)
            if not found:
                raise CommandError(f"{site.url}/ refused an order of {product!r}; is it sold out?")
            orders.append(Placed(found[1]))
            self.stdout.write(f"{orders[-1]} placed")
        return orders
