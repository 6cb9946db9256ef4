"""The pages that alarms name, shown in the admin: `settings.RELIABLE_RUNBOOKS` is their folder.

path("admin/runbooks/", include("reliable.probes.runbooks")),  # before the admin's own
"""

from pathlib import Path

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from markdown_it import MarkdownIt
from markdown_it.token import Token

#: Who may look at probes may read what to do about them.
PERMISSION = "reliable_probes.view_target"

# HTML in a page is shown as text.
_markdown = MarkdownIt("js-default", {"html": False})


def index(request: HttpRequest) -> HttpResponse:
    """All runbooks by title."""
    _permitted(request)
    found = [{"name": name, "title": _title(file)} for name, file in sorted(_files().items())]
    context = {**admin.site.each_context(request), "title": "Runbooks", "runbooks": found}
    return render(request, "admin/reliable_probes/runbooks.html", context)


def page(request: HttpRequest, name: str) -> HttpResponse:
    """One of them."""
    _permitted(request)
    file = _files().get(name)
    if file is None:
        raise Http404(f"There is no runbook {name}.")
    context = {
        **admin.site.each_context(request),
        "title": _title(file),
        "text": rendered(file.read_text(encoding="utf-8").partition("\n")[2]),
    }
    return render(request, "admin/reliable_probes/runbook.html", context)


def rendered(text: str) -> str:
    """Markdown as HTML; links to other runbooks' files lead to their pages."""
    tokens = _markdown.parse(text)
    for token in tokens:
        for each in token.children or ():
            _lead_to_page(each)
    html: str = _markdown.renderer.render(tokens, _markdown.options, {})
    return html


def _lead_to_page(token: Token) -> None:
    target = str(token.attrs.get("href", ""))
    if token.type == "link_open" and target.endswith(".md") and "/" not in target:
        token.attrs["href"] = f"../{target.removesuffix('.md')}/"


def _files() -> dict[str, Path]:
    """By name. Only what is listed is opened, whatever somebody asks for."""
    return {file.stem: file for file in Path(settings.RELIABLE_RUNBOOKS).glob("*.md")}


def _title(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _permitted(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied


urlpatterns: list[URLPattern] = [
    path("", admin.site.admin_view(index), name="runbooks"),
    path("<slug:name>/", admin.site.admin_view(page), name="runbook"),
]
