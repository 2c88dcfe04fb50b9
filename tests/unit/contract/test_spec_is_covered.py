"""Every equation, row and item of docs/method.md (spec) that says what is built has a test that names it.

Rows and items are read off the page: one that is added, or loses its test, fails here. What a test says is its
docstring and its name. Sections 5, 7, 10 and 11 have their own tests: spaces in ``unit/examples``, presets in
``unit/api``.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.known_methods import KNOWN

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/method.md").read_text()

EQUATIONS = {
    *("2.3", "2.4", "2.5", "2.6", "2.7", "2.11", "2.12"),
    *(f"3.{number}" for number in range(1, 9)),
    *(f"4.{number}" for number in range(1, 16)),
    *(f"5.{number}" for number in range(1, 10)),
}
"""All that the page has, by their numbers in the thesis."""

ITEMS: dict[str, dict[str, str]] = {
    "1.1": {
        "label (node 0": "one-hot label is always right",
        "model node (trainable)": "changes nothing in its gradient (3.3)",
        "model node (frozen": "frozen ones in evaluation mode",
        "EMA node": "each EMA node is alpha times what it was",
        "ensemble node": "averages the logits of all nodes",
        "Roles": "a score reads the nodes of its mode",
        "Rule": "isolated node becomes a pretrained teacher",
    },
    "1.2": {
        "label 0 -> t": "a label edge is the cross entropy",
        "s -> t (": "P+ (4.6)",
        "t -> t": "for a self edge too",
        "s => t EMA": "an ema edge is one choice among the losses",
    },
    "2.1": {
        "Transfer": "KL(p_s || p_t), which differs from",
        "Label": "one value for each edge and sample (3.1)",
        "Edge (3.2)": "(3.2) as it is written",
        "Node (3.3)": "(3.3): the label edge",
        "General KD": "(2.3), (2.4), (2.5)",
    },
    "2.2": {
        "P+": "P+ (4.6)",
        "P-": "(4.7)",
        "A+": "A+ (4.8)",
        "A-": "A- (4.9)",
        "Crops": "start at clamp(argmax - k // 2, 0, S - k)",
        "Edge (4.11": "P+A+ is L_p + L_map",
        "Label (4.13": "(4.13), (4.14)",
        "Node (4.15)": "(4.15): L_hard",
        "Six designs": "the six designs of chapter 4",
        "Ensemble node": "(4.10) for logits, (4.1) for either",
        "Analysis losses": "one of the twelve designs of 4.2.3",
    },
    "2.3": {
        "Consistency": "(5.1)",
        "EMA (5.2)": "(5.2)",
        "Pseudo label (5.3)": "(5.3)",
        "Pseudo-label loss": "(5.4)",
        "Thresholded": "(5.5)",
        "Supervised": "(5.9)",
        "Node (5.9)": "(5.9)",
    },
    "3": {
        "Through": "(3.4)",
        "Cutoff": "(3.5)",
        "Linear": "(3.6)",
        "Correct |": "(3.7)",
        "Sine |": "(3.8)",
        "Negative Linear": "(5.7)",
        "Threshold |": "(5.8)",
        "Sine special cases": "(f, phi) = (0, pi/2)",
        "Correct on a label edge": "on a label edge correct and threshold are through",
        "Correct uses labels": "only Correct is at odds with a loss",
        "Threshold exists both": "(5.5), (5.8)",
        "[C] k starts at 1": "is 1 at the first update and k_end at the last",
    },
    "4": {str(number): f"Algorithm 1, step {number}" for number in range(1, 6)},
    "8": {
        "MutualKL": "(4.2): half the sum of KL",
        "Delta accuracy": "(4.4): ACC_ens",
        "Attention absolute error": "Table 4.6",
        "Node-subset ensembles": "Table 4.8",
        "Attention maps": "the entropy of what a node says (spec 8)",
        "UMAP": "maps for UMAP have one size",
        "Parameter-efficiency plot": "nodes and ensembles stand over their parameters",
        "Gate ablation": "Gate ablation (spec 8)",
        "Search cost": "(figure 3.10)",
        "Graph transfer": "Graph transfer (spec 8)",
        "Gradient conflicts": "Tables 4.10, 4.11",
        "Graph drawing": "Graph drawing (spec 8)",
    },
    "9": {"Baseline": "rows of table 4 9 are graphs", "Gradient aggregation": "Gradient aggregation (spec 9)"},
}
"""Section -> the beginning of each row, bullet or step -> what a test that is about it says."""

METHODS = {
    "Vanilla / Independent": "independent",
    "KD": "knowledge-distillation",
    "DML": "deep-mutual-learning",
    "Born-Again": "born-again",
    "Teacher Assistant": "teacher-assistant",
    "ONE, Song & Chai": "one",
    "Ensemble KD": "ensemble-distillation",
    "Pi-model": "pi-model",
    "Mean Teacher": "mean-teacher",
    "Pseudo-Label": "pseudo-label",
    "FixMatch": "fixmatch",
    "Dual/Multiple Student": "dual-student",
    "single-teacher feature KD (AT etc.)": "attention-transfer",
}
"""Rows of section 6 -> the recipe whose tests bear its name (``unit/examples/test_recipes.py``)."""

FINDINGS = {"2.2": ("The thesis's conclusion",)}
"""What was observed in the thesis's experiments and is nothing that is built."""


@cache
def named() -> tuple[str, ...]:
    """What each test says of itself, in small letters."""
    found: list[str] = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                words = f"{node.name.replace('_', ' ')}: {ast.get_docstring(node) or ''}"
                found.append(" ".join(words.split()).lower())
    return tuple(found)


def section(number: str) -> str:
    """The text below a heading, up to the next one of any level."""
    (found,) = re.findall(rf"^##+ {re.escape(number)}\.? .*?\n(.*?)(?=^#|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def items(number: str) -> list[str]:
    """Rows of tables, bullets, steps and paragraphs that begin with a name and a colon or a rule in brackets."""
    lines = section(number).splitlines()
    rows = [line.removeprefix("| ") for line in lines if line.startswith("| ") and not is_head(line, lines)]
    bullets = [line.removeprefix("- ").replace("**", "") for line in lines if line.startswith("- ")]
    steps = [line for line in lines if re.match(r"\d+\. ", line)]
    paragraphs = [line for line in lines if re.match(r"(Roles|Rule)\b", line)]
    return rows + bullets + steps + paragraphs


def is_head(line: str, lines: list[str]) -> bool:
    """Whether a row of a table is its head."""
    following = lines.index(line) + 1
    return following < len(lines) and lines[following].startswith("|---")


def test_equations_are_those_of_the_page():
    """Numbers in brackets, in the column of gates, or a range of them; figures, tables and sections are none."""
    text = "\n".join(section(part) for part in (*ITEMS, "6") if part != "1.1")
    text = re.sub(r"(tables?|fig(ure)?s?\.?) \d+\.\d+(, \d+\.\d+)*", "", text)
    marked = re.findall(r"\(([^()]*\d\.\d[^()]*)\)|\|\s*(\d\.\d(?:, \d\.\d)*)\s*\|", text)
    found: set[str] = set()
    for bracket, column in marked:
        inside = re.sub(r"\d\.\d+\.\d+|T=\d+", "", bracket or column)
        for first, last in re.findall(r"(?<![\d.])([2-5]\.\d{1,2})(?!\d)(?:-([2-5]\.\d{1,2}))?", inside):
            chapter, start = first.split(".")
            stop = last.split(".")[1] if last else start
            found |= {f"{chapter}.{number}" for number in range(int(start), int(stop) + 1)}
    assert found == EQUATIONS


@pytest.mark.parametrize("number", sorted(EQUATIONS, key=lambda text: tuple(map(int, text.split(".")))))
def test_an_equation_has_a_test_that_names_it(number: str):
    """By its number in brackets, in a docstring."""
    assert any(f"({number})" in words for words in named()), f"no test names equation ({number})"


@pytest.mark.parametrize("part", ITEMS)
def test_items_are_those_of_the_page(part: str):
    """Each row, bullet and step of the section is listed here, and nothing that is not there."""
    there = items(part)
    listed = [*ITEMS[part], *FINDINGS.get(part, ())]
    unlisted = [item for item in there if not any(item.startswith(begin) for begin in listed)]
    gone = [begin for begin in listed if not any(item.startswith(begin) for item in there)]
    assert (unlisted, gone) == ([], [])


@pytest.mark.parametrize(("part", "item"), [(part, item) for part, found in ITEMS.items() for item in found])
def test_an_item_has_a_test_that_names_it(part: str, item: str):
    """By the words that are listed for it."""
    words = ITEMS[part][item].lower()
    assert any(words in said for said in named()), f"no test says {words!r} of spec {part}, {item}"


def test_methods_are_those_of_the_page():
    """Each row of section 6 has its recipe, and each recipe's graph its tests."""
    assert [item.partition(" | ")[0] for item in items("6")] == list(METHODS)
    assert set(METHODS.values()) == set(KNOWN)
