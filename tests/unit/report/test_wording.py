"""Numbers and edges in words."""

import math

import pytest

from graphsearch.report.markup import Html, element
from graphsearch.report.wording import duration_text, length_text, mean_text, score_text, size_text, space_text
from graphtrial.contract import Metric


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.7834, "78.3 %"), (None, "–"), (math.nan, "not a number"), (math.inf, "infinite"), (1.0, "100.0 %")],
)
def test_a_share_is_given_in_percent(score: float | None, text: str) -> None:
    """Also what is no number has words."""
    assert score_text(Metric.ACCURACY, score) == text


def test_log_loss_is_given_as_it_is() -> None:
    """It is no share."""
    assert mean_text(Metric.NEGATIVE_LOG_LOSS, -0.51234, 0.012) == "-0.512 ± 0.012"


def test_one_run_has_no_deviation() -> None:
    """A mean of one value stands alone."""
    assert mean_text(Metric.ACCURACY, 0.5, None) == "50.0 %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3661, "1 h 1 min"), (360_000, "100 h 0 min")],
)
def test_times_are_given_in_two_units(seconds: float, text: str) -> None:
    """Nobody counts the seconds of a day."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("length", "text"), [(0.0, "0"), (1234.0, "1,234"), (2.46, "2.5")])
def test_a_length_has_decimals_only_where_it_needs_them(length: float, text: str) -> None:
    """Epochs that were trained in part."""
    assert length_text(length) == text


@pytest.mark.parametrize(("number", "text"), [(950, "950"), (470_292, "470 k"), (1_735_000, "1.74 M"), (5e9, "5 G")])
def test_large_numbers_have_three_digits(number: float, text: str) -> None:
    """Parameters and operations."""
    assert size_text(number) == text


@pytest.mark.parametrize(("size", "text"), [(2_359_296, "2,359,296"), (3 * 10**31, "about 3.0 × 10³¹")])
def test_a_space_is_counted_while_one_can_read_it(size: int, text: str) -> None:
    """Seven nodes give more graphs than digits help."""
    assert space_text(size) == text


def test_only_html_stands_as_it_is() -> None:
    """Text is escaped, also in attributes; HTML is not, unless formatting has made it text again."""
    inner = element("b", "a < b")
    assert inner == "<b>a &lt; b</b>"
    assert element("p", inner) == "<p><b>a &lt; b</b></p>"
    assert element("p", f"{inner}") == "<p>&lt;b&gt;a &amp;lt; b&lt;/b&gt;</p>"
    assert element("p", Html(""), class_="x", aria_label='"') == '<p class="x" aria-label="&quot;"></p>'
