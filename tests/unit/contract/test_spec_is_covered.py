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

ITEMS: dict[str, dict[str, str | dict[str, str]]] = {
    "1.1": {
        "label (node 0": "one-hot label is always right",
        "model node (trainable)": {
            "any classifier": "a model of the users own is built by import path",
            "gradient of its own L_t": "changes nothing in its gradient (3.3)",
            "attention map Q": "a map has its side",
        },
        "model node (frozen": {
            "trained beforehand": "distillation's teacher is trained on labels before its student",
            "on the same data": "a teacher of other images is refused",
            "nothing": "a frozen node is left exactly as it was",
        },
        "EMA node": {
            "same architecture": "an ema node starts as a copy of the node that it follows",
            "moving average": "each EMA node is alpha times what it was",
            "no backprop": "a network of its own, without gradient",
        },
        "ensemble node": {
            "no weights": "an ensemble node averages what it says over its members",
            "averaged logits": "averages the logits of all nodes",
        },
        "Roles": {
            "the one to improve": "a score reads the nodes of its mode",
            "node 1 in all": "the target is the first node",
            "the ensemble node is scored": "chapter 4 is scored by its ensemble",
        },
        "Rule": {
            "all Cutoff": "isolated node becomes a pretrained teacher",
            "end of an EMA edge": "an average is never frozen",
            "the labelled subset": "a searching student's teacher is trained on the search split",
            "plays the KD teacher": "an isolated node becomes a pretrained teacher",
            "random weights": "a nodes first weights depend on the seed and its name alone",
            "is rejected": "a graph that cannot be scored is drawn again",
            "stays random": "one with every gate cut stays random",
        },
    },
    "1.2": {
        "label 0 -> t": "a label edge is the cross entropy",
        "s -> t (": "P+ (4.6)",
        "t -> t": "for a self edge too",
        "s => t EMA": "an ema edge is one choice among the losses",
        "Each edge has": {
            "(loss design, gate)": "every loss through every gate equals the formulas",
            "into the destination": "a node is moved by its own loss alone",
            "is a constant": "what other nodes learn, from it or from others, changes nothing",
        },
        "In ch. 3 and 4": "S^(N-1) G^(N^2) with N = 3, S = 3, G = 4",
    },
    "2.1": {
        "Transfer": {
            "sum_c": "KL(p_s || p_t), which differs from",
            "temperature 1": "all KL edges Through at temperature 1",
            "T = 2": "KL at temperature 2 from a pretrained",
        },
        "Label": "one value for each edge and sample (3.1)",
        "Edge (3.2)": {
            "a sum": "(3.2) as it is written",
            "a masked sample": "a masked sample stays in the divisor",
            "(4.12), (4.14)": "and as (4.12) and the authors' code have it",
        },
        "Node (3.3)": {
            "L_t": "(3.3): the label edge",
            "weight 1": "every transfer edge at weight 1",
            "no per-edge normalisation": "whatever their number",
        },
        "General KD": {"a T^2": "(2.3), (2.4), (2.5)", "DML": "(2.6), (2.7): each node's cross entropy and the KL"},
    },
    "2.2": {
        "Attention Transfer map": {
            "over channels": "(2.11) with p = 2",
            "AT loss": "(2.12): the mean squared difference",
        },
        "P+": "P+ (4.6)",
        "P-": "(4.7)",
        "A+": {"MSE": "A+ (4.8): each crop normalised", "over the cells": "its squares averaged over its cells"},
        "A-": "A- (4.9): each crop normalised",
        "Crops": {
            "centred at the argmax": "at the argmax of the source's map",
            "at the same place": "wherever the destination's has its own (spec 2.2)",
            "are averaged": "is the mean over crops of squared differences",
            "7x7": "a ResNet's 7 x 7 map under crops of 3, 5 and 7",
            "ABN (14x14": "an ABN's map has twice the side of its ResNet's",
            "3, 7, 11": "crops of an ABN's map (spec 2.2)",
            "clamp": "start at clamp(argmax - k // 2, 0, S - k)",
            "no padding": "without padding (spec 2.2",
        },
        "Edge (4.11": {"L_map(x)": "P+A+ is L_p + L_map", "G_{s,t}": "gated together and averaged over the batch"},
        "Label (4.13": {
            "L_CE =": "(4.13), (4.14)",
            "G_{hard,t}": "(4.13), (4.14)",
            "for ABN": "that of its branch under the same gate (spec 2.2)",
        },
        "Node (4.15)": "(4.15): L_hard",
        "Six designs": {
            "P+, P-": "the six designs of chapter 4",
            "mixed signs": "losses and gates of each kind of edge",
        },
        "Ensemble node": {
            "l_ens": "(4.10) for logits",
            "(4.1)": "(4.1) for either",
            "no gradient through it": "an ensemble that teaches hands no gradient to its members",
            "no outgoing edges": "an ensemble that teaches nobody",
        },
        "Analysis losses": {
            "for probabilities": "one of the twelve designs of 4.2.3",
            "for maps": "one of the twelve designs of 4.2.3",
            "prob 1/cos": "10e-4 for 1/cos of probabilities",
            "map 1/cos": "10e-1 and 10e-7 for 1/cos and 1/MSE of maps",
            "map 1/MSE": "10e-1 and 10e-7 for 1/cos and 1/MSE of maps",
            "Whole maps": "of whole maps of norm 1",
            "ResBlock 4": "the map is that of attention transfer on the last group",
        },
    },
    "2.3": {
        "Consistency": {
            "x+zeta1": "(5.1)",
            "KL divergence": "KL from what the source says of zeta2",
            "KL(f_s || f_t)": "to what the destination says of zeta1",
        },
        "EMA (5.2)": {
            "(1-alpha)": "the rest what it follows (5.2)",
            "alpha = 0.999": "alpha of (5.2) is 0.999 where nothing else is said",
            "BN buffers": "averages follow and buffers are copied",
        },
        "Pseudo label (5.3)": "(5.3)",
        "Pseudo-label loss": "(5.4)",
        "Thresholded": {"L^tp": "(5.5)", "tau = 0.95": "tau = 0.95 (5.5)", "strict": "(5.5) compares strictly"},
        "Supervised": "unlabelled images are seen by destinations and their sources only",
        "Node (5.9)": "(5.9): each under its own gate",
    },
    "3": {
        "Through": "(3.4)",
        "Cutoff": "(3.5)",
        "Linear": {"3.6": "(3.6)", "5.6": "(5.6)"},
        "Correct |": "(3.7)",
        "Sine |": "(3.8)",
        "Negative Linear": "(5.7)",
        "Threshold |": "(5.8)",
        "Sine special cases": {
            "(0, pi/2)": "(f, phi) = (0, pi/2) is Through",
            "(0, 3pi/2)": "(0, 3 pi/2) Cutoff",
            "(0.5, 3pi/2)": "(0.5, 3 pi/2) a half-cosine ramp",
            "half-cosine": "(0.5, 3 pi/2) a half-cosine ramp",
        },
        "Correct on a label edge": {
            "is Through": "on a label edge correct and threshold are through",
            "draw it": "correct on a label edge is drawn as through",
        },
        "Correct uses labels": "only Correct is at odds with a loss",
        "Threshold exists both": "(5.5), (5.8)",
        "[C] k starts at 1": {
            "at the first update": "is 1 at the first update and k_end at the last",
            "the last update": "is 1 at the first update and k_end at the last",
        },
    },
    "4": {
        "1": {"random": "a nodes first weights depend on the seed", "EMA nodes": "Algorithm 1, step 1"},
        "2": {"same images": "Algorithm 1, step 2", "once": "each network runs once however many edges read it"},
        "3": {
            "every L_t": "Algorithm 1, steps 2 to 5: every L_t of one forward pass",
            "are constants": "Algorithm 1, step 3",
        },
        "4": {
            "node t only": "Algorithm 1, step 4",
            "simultaneously": "all nodes at once",
            "DML's": "of one forward pass",
        },
        "5": {"after the step": "EMA nodes after them (5.2)", "(5.2)": "Algorithm 1, step 5"},
        "[D] since sources": "one backward gives each node its own gradient",
        "Ch. 5": {
            "fixed sizes": "batches of chapter 5 are those of the tables",
            "independent draws": "the two views are independent draws",
        },
    },
    "8": {
        "MutualKL": {"(4.2)": "(4.2): half the sum of KL", "(4.3)": "KL as (4.3) in both directions"},
        "Delta accuracy": {"ACC_ens": "(4.4): ACC_ens", "correlation": "with the correlation over all of them"},
        "Attention absolute error": {
            "sum over cells": "Table 4.6: per sample the sum over cells",
            "mean over pairs": "everything is said of every node and of all together",
            "not stated": "averaged over samples; of norm 1 as well",
        },
        "Node-subset ensembles": "Table 4.8",
        "Attention maps": {
            "per node": "small pictures with a map of each node",
            "entropy": "the entropy of what a node says (spec 8)",
        },
        "UMAP": {"2-D": "maps for UMAP have one size", "coloured": "maps are placed by umap"},
        "Parameter-efficiency plot": "nodes and ensembles stand over their parameters",
        "Gate ablation": {"all Through": "Gate ablation (spec 8)", "Gate-set": "Table 3.5 out of one search"},
        "Search cost": {"wall clock": "A row of table 3.6", "accuracy curves": "(figure 3.10)"},
        "Graph transfer": "Graph transfer (spec 8)",
        "Gradient conflicts": "Tables 4.10, 4.11",
        "Graph drawing": {
            "with accuracy": "nodes carry model role and accuracy",
            "Cutoff edges": "Graph drawing (spec 8)",
            "loss + gate": "an edge says its loss and gate in the gates colour",
            "separately": "Fig 5.6: one picture",
        },
    },
    "9": {
        "Baseline": {
            "mean probability": "or for their mean probability",
            "one loss per teacher": "a loss for each teacher",
            "{1, 2, 5, 10}": "the temperatures of table 4.9",
            "attention": "rows of table 4 9 are graphs",
        },
        "Gradient aggregation": {
            "g_i.g_j < 0": "Gradient aggregation (spec 9)",
            "Order of pairs": "the order is a function of seed and update",
            "per layer": "a layer is projected on its own",
            "the label loss": "the label loss is in none",
        },
    },
}
"""Section -> the beginning of each row, bullet, step or paragraph -> what a test that is about it says.

Where it says several things, a piece of each stands beside its test; no clause of a bullet is without one.
"""

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

REMARKS = (
    "Student ResNet18-ABN, teachers = the 5 nodes",
    "teachers = the 5 nodes of the Stanford Dogs",
    "Independent stays about 14.3",
)
"""Clauses that tell of the thesis's own setup beside what is built."""


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
    """Rows of tables, bullets, steps and paragraphs, each with the lines that it goes on in."""
    lines = section(number).splitlines()
    found: list[str] = []
    for line in lines:
        marked = re.sub(r"^(- |\| )", "", line).replace("**", "").replace("*", "")
        begins = line.startswith(("- ", "| ")) or re.match(
            r"\d+\. |\[D\] |(Roles|Rule|Each edge|In ch\.|Ch\.|Attention Tr)", line
        )
        if begins and not is_head(line, lines):
            found.append(marked)
        elif found and line.strip() and not line.startswith("|"):
            found[-1] += f" {marked.strip()}"
    return found


def clauses(item: str) -> list[str]:
    """What an item says, one by one: it is cut at semicolons and at the ends of sentences, outside of formulas."""
    if " | " in item:
        return []
    text = re.sub(r"`[^`]*`", lambda formula: re.sub(r"([.;]) ", r"\1", formula[0]), item)
    return re.split(r"(?<!\b[Cc]h)(?<!i\.e)(?<!r\.t)(?<!\bref)(?<!\bal)(?<!^\d)[.;] (?=\S)", text)


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


PHRASES = [
    (part, begin, piece, words)
    for part, found in ITEMS.items()
    for begin, said in found.items()
    for piece, words in (said.items() if isinstance(said, dict) else [(begin, said)])
]


@pytest.mark.parametrize(("part", "begin", "piece", "words"), PHRASES)
def test_an_item_has_a_test_that_names_it(part: str, begin: str, piece: str, words: str):
    """By the words that are listed for it, or for each thing that it says."""
    (item,) = [item for item in items(part) if item.startswith(begin)]
    assert piece in item
    assert any(words.lower() in said for said in named()), f"no test says {words!r} of spec {part}, {begin}, {piece}"


@pytest.mark.parametrize("part", ITEMS)
def test_no_clause_of_an_item_is_without_a_test(part: str):
    """Each holds a piece that is listed, or is a remark."""
    pieces = [(begin, piece) for of_part, begin, piece, _ in PHRASES if of_part == part]
    silent = [
        clause
        for item in items(part)
        if not item.startswith(FINDINGS.get(part, ()) or "\n")
        for clause in clauses(item)
        if not any(item.startswith(begin) and piece in clause for begin, piece in pieces)
        and not any(remark in clause for remark in REMARKS)
    ]
    assert silent == []


def test_methods_are_those_of_the_page():
    """Each row of section 6 has its recipe, and each recipe's graph its tests."""
    assert [item.partition(" | ")[0] for item in items("6")] == list(METHODS)
    assert set(METHODS.values()) == set(KNOWN)
