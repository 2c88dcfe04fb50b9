"""Pieces of HTML. A plain ``str`` is always escaped; only what is ``Html`` stands as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already. Joining or formatting it gives a plain ``str`` again, which is escaped."""

    __slots__ = ()


def join(parts: Iterable[Html]) -> Html:
    """Parts one after the other."""
    return Html("\n".join(parts))


def element(name: str, content: str = "", /, **attributes: str) -> Html:
    """An element around text, which is escaped, or around HTML; ``class_`` is the class, ``aria_label`` aria-label."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    inner = content if isinstance(content, Html) else escape(content)
    return Html(f"<{name}{given}>{inner}</{name}>")


def paragraph(content: str, css: str = "") -> Html:
    """A paragraph of text."""
    return element("p", content, class_=css) if css else element("p", content)


def section(identity: str, title: str, *parts: Html) -> Html:
    """A titled part of the page."""
    heading = element("h2", title, id=f"{identity}-title")
    return element("section", join([heading, *parts]), id=identity, aria_labelledby=f"{identity}-title")


def bullets(items: Iterable[str]) -> Html:
    """A list of sentences."""
    return element("ul", join(element("li", item) for item in items))


def fold(title: str, content: Html) -> Html:
    """A part that opens on demand."""
    return element("details", join([element("summary", title), content]))


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), strong: int = -1
) -> Html:
    """A table that scrolls in itself where it is wider than the screen.

    Args:
        caption: What it shows, for those who cannot see it.
        head: Column titles.
        rows: Cells as text; the first of a row is its title.
        numbers: Columns set flush right.
        strong: The row that is set apart, if any.
    """
    align = [{"class_": "number"} if column in numbers else {} for column in range(len(head))]
    titles = "".join(element("th", title, scope="col", **align[column]) for column, title in enumerate(head))
    body = []
    for place, row in enumerate(rows):
        first = element("th", row[0], scope="row", **align[0])
        rest = "".join(element("td", cell, **align[column]) for column, cell in enumerate(row) if column)
        body.append(element("tr", Html(first + rest), **({"class_": "strong"} if place == strong else {})))
    inner = [
        element("caption", caption),
        element("thead", element("tr", Html(titles))),
        element("tbody", join(body)),
    ]
    inside = element("table", join(inner))
    return element("div", inside, class_="wide", role="region", aria_label=caption, tabindex="0")


def picture(identity: str, title: str) -> Html:
    """The place of a chart, filled by the page's script."""
    return element("div", "", class_="chart", id=f"chart-{identity}", role="figure", aria_label=title)
