"""The pages in the language of whoever looks: which one, and how a sentence, a number and a moment are said in it.

How to edit: a sentence stands in English in a template as `_("...", name=value)` and in code as `say("...")`, or as
`N_("...")` where it is said later; and in each `locale/<language>.po`. Tests fail while one is missing in a catalogue,
while a translation drops a value, and while a template has words that are in no catalogue. What other parts of the node
say in English (why a study waits, why something is refused) is known by its form: `sentences` lists the forms.

The language is that of the account, else of the browser's cookie, else what the browser asks for, else English. It is
found once a request, by the gate, and kept in a context variable: so macros, filters and read models need not carry it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from string import Formatter

from markupsafe import Markup, escape
from starlette.requests import Request

from dicom_node.catalogues import N_, catalogue
from dicom_node.core.account import Principal
from dicom_node.core.languages import LANGUAGES, SOURCE_LANGUAGE
from dicom_node.web.failure_sentences import KINDS, OF_A_KIND
from dicom_node.web.sentences import SENTENCES, WORDS

LOCALE = Path(__file__).parent / "locale"
COOKIE = "cspine_language"
NAMES = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español"}

_MOMENTS = {
    "en": "%Y-%m-%d %H:%M:%S UTC",
    "de": "%d.%m.%Y %H:%M:%S UTC",
    "fr": "%d/%m/%Y %H:%M:%S UTC",
    "es": "%d/%m/%Y %H:%M:%S UTC",
}
_SPANS = (
    (86400, N_("{count} d")),
    (3600, N_("{count} h")),
    (60, N_("{count} min")),
    (0, N_("{count} s")),
)
_MOST_WISHES = 20
_LONGEST_SENTENCE = 2000
_DEEPEST = 8  # sentences inside sentences
_HAS_WORDS = re.compile(r"[^\W\d_]{3}")  # a number, a UID or a status is the same in every language
# Inside a sentence these are somebody's names: a peer that is called `viewer` stays that.
_NAMES_INSIDE = frozenset(
    (
        *("actor", "code", "commanded", "digest", "file", "kind", "known", "levels", "name", "names", "note"),
        *("objects", "other", "owner", "peer", "peers", "place", "study", "syntax", "value", "version", "what"),
    )
)
# These end where the next part of a sentence begins, so that a form takes no more than its own.
_INSIDE = dict.fromkeys(("kernel", "length", "peer", "thickness", "what"), r"(?:(?!: |[,;] ).)+?")

_spoken: ContextVar[str] = ContextVar("spoken", default=SOURCE_LANGUAGE)


def chosen_language(request: Request, principal: Principal | None) -> str:
    """The language for this request; always one of `LANGUAGES`."""
    wishes = [principal.language if principal else "", request.cookies.get(COOKIE, "")]
    wishes += _accepted(request.headers.get("accept-language", ""))
    return next((wish for wish in wishes if wish in LANGUAGES), SOURCE_LANGUAGE)


def speak(language: str) -> None:
    """What is said from here on in this request is said in `language`, one of `LANGUAGES`."""
    _spoken.set(language)


def spoken() -> str:
    """The language of this request."""
    return _spoken.get()


def say(message: str, **values: object) -> str:
    """The sentence with `values` in their places. Markup among them stays markup, everything else is escaped then."""
    text = catalogue(LOCALE, spoken()).gettext(message)
    if not values:
        return text
    if any(hasattr(value, "__html__") for value in values.values()):
        return escape(text).format(**values)
    return text.format(**values)


def said(text: str) -> str:
    """What another part of the node said in English, where its form is known; else as it is."""
    if spoken() == SOURCE_LANGUAGE or not text:
        return text
    return _said_in(spoken(), text, _DEEPEST)


@lru_cache(maxsize=1024)
def _said_in(language: str, text: str, depth: int) -> str:
    """`said` in the language of this request, kept: a page of the worklist has the same few reasons again and again."""
    known = _known(text) if depth else None
    if known is None:
        return say(WORDS[text]) if text in WORDS else text
    message, parts = known
    values = {name: value if name in _NAMES_INSIDE else _said_in(language, value, depth - 1) for name, value in parts}
    return say(message, **values)


def told(text: str) -> Markup:
    """As `said`, for the text of a page: what stays English in another language is marked as that, so that it is read
    out as English: what a peer said, and what the node says in a form that is not known."""
    if spoken() == SOURCE_LANGUAGE or not text:
        return escape(text)
    return _told_in(spoken(), text, _DEEPEST)


@lru_cache(maxsize=1024)
def _told_in(language: str, text: str, depth: int) -> Markup:
    known = _known(text) if depth else None
    if known is not None:
        message, parts = known
        values = {
            name: value if name in _NAMES_INSIDE else _told_in(language, value, depth - 1) for name, value in parts
        }
        return escape(say(message, **values))
    if text in WORDS:
        return escape(say(WORDS[text]))
    return Markup('<span lang="en">{}</span>').format(text) if _HAS_WORDS.search(text) else escape(text)


@lru_cache(maxsize=1024)
def _known(text: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """The sentence whose form the text has, with what stands in its places. A long text is somebody else's."""
    if len(text) > _LONGEST_SENTENCE:
        return None
    kind, colon, failure = text.partition(": ")
    if colon and kind in KINDS:
        return OF_A_KIND, (("trouble", KINDS[kind]), ("failure", failure))
    for message, form in _forms():
        found = form.fullmatch(text)
        if found:
            return message, tuple(found.groupdict().items())
    return None


def word(value: object) -> str:
    """A state, a role, a reason or another of the node's own words, as people say it."""
    name = str(getattr(value, "value", value))
    return say(WORDS[name]) if name in WORDS else name.replace("_", " ").lower()


def levels(names: Iterable[str]) -> str:
    """Levels behind one another; C1 to C7 are called so in every language."""
    return ", ".join(word(name) if name in WORDS else name for name in names)


def number(value: float, digits: int = 0) -> str:
    """With so many decimals and the language's decimal sign."""
    written = f"{value:.{digits}f}"
    return written if spoken() == SOURCE_LANGUAGE else written.replace(".", ",")


def percent(share: float | None, digits: int = 0) -> str:
    """A share of one in per cent; a dash for None."""
    return "–" if share is None else f"{number(100 * share, digits)} %"


def size(count: float) -> str:
    """Bytes in the largest unit that says something."""
    for unit, bytes_ in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= bytes_:
            return f"{number(count / bytes_, 1)} {unit}"
    return f"{number(count)} B"


def when(moment: datetime | None) -> str:
    """UTC to the second; a dash for None."""
    return moment.strftime(_MOMENTS[spoken()]) if moment else "–"


def written_when(text: str) -> str:
    """A moment that was written by ISO 8601, in UTC, as `when` shows it; what is none, as it is written."""
    try:
        return when(datetime.fromisoformat(text))
    except ValueError:
        return text


def day(moment: datetime | None) -> str:
    """The day alone; a dash for None. Takes a date as well."""
    return moment.strftime(_MOMENTS[spoken()].partition(" ")[0]) if moment else "–"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that says something; "in …" for the future."""
    if moment is None:
        return "–"
    passed = now - moment
    words = span(abs(passed).total_seconds())
    return say("in {span}", span=words) if passed < timedelta(0) else say("{span} ago", span=words)


def span(seconds: float | None) -> str:
    """A length of time, in the largest unit of which there are two; a dash for None."""
    if seconds is None:
        return "–"
    for length, unit in _SPANS:
        if length and seconds >= 2 * length:
            return say(unit, count=f"{seconds / length:.0f}")
    return say(_SPANS[-1][1], count=f"{seconds:.0f}")


def _accepted(header: str) -> Iterable[str]:
    """The languages of an Accept-Language header (RFC 9110, 12.5.4), the most wanted first, without their regions."""
    wishes = []
    for place, wish in enumerate(header.split(",")[:_MOST_WISHES]):
        tag, _, weight = wish.partition(";")
        match = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", weight)
        quality = float(match[1]) if match else 1.0
        if quality > 0:
            wishes.append((-quality, place, tag.strip().partition("-")[0].lower()))
    return [language for _, _, language in sorted(wishes)]


@cache
def _forms() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Each known sentence with the form by which it is recognised; those that say most in words come first."""
    in_order = sorted(SENTENCES, key=lambda message: -len(re.sub(r"\{\w+\}", "", message)))
    return tuple((message, _form(message)) for message in in_order)


def _form(message: str) -> re.Pattern[str]:
    parts = [
        re.escape(literal) + (f"(?P<{name}>{_INSIDE.get(name, '.+?')})" if name else "")
        for literal, name, _, _ in Formatter().parse(message)
    ]
    return re.compile("".join(parts), re.DOTALL)


def code(text: str) -> Markup:
    """What is typed, as it is typed, inside a sentence."""
    return Markup('<code translate="no">{}</code>').format(text)
