"""The page around the sections: one file that loads nothing, on any screen, in light and dark.

Its content security policy forbids every request, so that offline is not a promise but enforced. Vega compiles
expressions, hence ``unsafe-eval``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from graphsearch.report.markup import Html, element, join

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data:"
_HINT = "The charts need JavaScript; as pictures they lie beside this page (curves.svg, rungs.svg and others)."


def page(title: str, sections: list[Html], charts: Mapping[str, Html], library: Html) -> str:
    """The whole page.

    Args:
        title: Of the window.
        sections: In their order; empty ones are left out.
        charts: Vega-Lite as JSON, by the identity of its ``picture``.
        library: The script that draws them; not needed where there is no chart.
    """
    head = [
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", _resource("page.css")),
    ]
    body = [element("main", join(part for part in sections if part))]
    if charts:
        body.append(element("noscript", _HINT))
        for identity, json in charts.items():
            body.append(element("script", json, type="application/json", data_chart=identity))
        body += [element("script", library), element("script", _resource("page.js"))]
    inner = join([element("head", join(head)), element("body", join(body))])
    return f"<!doctype html>\n{element('html', inner, lang='en')}\n"


def _resource(name: str) -> Html:
    return Html(files("graphsearch.report").joinpath(name).read_text(encoding="utf-8"))
