"""How a page is made of its template: what every page shows, and the rest from its route."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import Response

from dicom_node.core.account import Action, may
from dicom_node.web import language
from dicom_node.web.auth.browser import csrf_token
from dicom_node.web.auth.gate import principal_of
from dicom_node.web.shown import person, picture_title

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "when": language.when,
    "written_when": language.written_when,
    "day": language.day,
    "ago": language.ago,
    "span": language.span,
    "person": person,
    "picture_title": picture_title,
    "said": language.said,
    "told": language.told,
    "word": language.word,
    "levels": language.levels,
    "number": language.number,
    "percent": language.percent,
    "size": language.size,
    "code": language.code,
}
_environment.globals |= {"_": language.say, "spoken": language.spoken, "language_names": language.NAMES}
_templates = Jinja2Templates(env=_environment)


def add_part(name: str, shown: Any) -> None:
    """`name(...)` in a template gives what a part of a page shows, so that any page can include the part."""
    _environment.globals[name] = shown


def page(
    request: Request, template: str, context: dict[str, Any], status_code: int = 200, *, form_secret: str = ""
) -> Response:
    """The page. Its forms carry `csrf_token`, of the session or, before the log-in, of `form_secret`."""
    sources: WebSources = request.app.state.sources
    principal = principal_of(request)
    secret = principal.secret if principal else form_secret
    role = principal.role if principal else None
    query = f"?{request.url.query}" if request.url.query else ""
    here = request.url.path + query if request.method == "GET" else "/"
    shared = {
        "now": sources.clock.now(),
        "ae_title": sources.ae_title,
        "version": sources.version,
        "principal": principal,
        "csrf_token": csrf_token(secret) if secret else "",
        # Before the log-in nothing is told but that there is a node.
        "is_healthy": principal is not None and all(report.is_healthy for report in sources.health()),
        "peers_problem": sources.peers_problem() if principal else "",
        "may": lambda action: may(role, Action[action]),
        "here": here,
    }
    return _templates.TemplateResponse(request, template, shared | context, status_code=status_code)


def refusal(request: Request, status: int, text: str) -> Response:
    """A page that says why there is no other."""
    return page(request, "refused.html", {"why": text}, status)
