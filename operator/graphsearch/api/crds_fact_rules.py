"""Rules in CEL for what is recorded: a fact can neither change nor disappear, whoever writes (design 2).

The operator keeps to that by itself; these rules hold for hands, scripts and a second operator. A rule between an old
and a new value applies only where both exist, so what must not disappear is said on the parent.
"""

from __future__ import annotations

from graphsearch.api.crds_schema import Rule, Rules
from graphsearch.api.facts import SearchFacts
from graphsearch.api.graphsearch import GraphSearch
from graphsearch.api.graphtrial import Attempt, GraphTrial, GraphTrialObjectStatus, Rung
from graphsearch.api.search_status import GraphSearchStatus


def _fact(rule: str, message: str, path: str = "") -> Rule:
    return Rule(rule, message, path=path, reason="FieldValueForbidden")


def _set_once(field: str, unset: str = "") -> Rule:
    kept = f"has(self.{field}) && self.{field} == oldSelf.{field}"
    empty = f" || oldSelf.{field} == {unset}" if unset else ""
    message = f"{field} is recorded once and never changes"
    return _fact(f"!has(oldSelf.{field}){empty} || ({kept})", message, f".{field}")


def _kept(field: str, key: str) -> Rule:
    return _fact(
        f"!has(oldSelf.{field}) || (has(self.{field}) && "
        f"oldSelf.{field}.all(old, self.{field}.exists(new, new.{key} == old.{key})))",
        f"recorded {field} never disappear",
        f".{field}",
    )


def _settled_by(fact: str, field: str) -> Rule:
    same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    return _fact(f"!has(oldSelf.{fact}) || ({same})", f"{field} is fixed once {fact} is recorded", f".{field}")


_STATUS_STAYS = _fact("!has(oldSelf.status) || has(self.status)", "recorded facts never disappear")

FACT_RULES: Rules = {
    GraphSearch: (
        _STATUS_STAYS,
        _fact(
            "!has(self.status) || !has(self.status.facts) || !has(self.status.facts.endedAt)"
            " || self.spec.budget == oldSelf.spec.budget",
            "the search has ended, so another budget changes nothing; apply a search of another name",
            ".spec.budget",
        ),
    ),
    GraphSearchStatus: (_fact("!has(oldSelf.facts) || has(self.facts)", "recorded facts never disappear", ".facts"),),
    SearchFacts: (
        *(_set_once(field) for field in ("uid", "startedAt", "winner", "endedAt", "reason")),
        _set_once("winnerNode", unset="''"),
        _settled_by("endedAt", "message"),
        _fact(
            "!has(oldSelf.nextIndex) || (has(self.nextIndex) && self.nextIndex >= oldSelf.nextIndex)",
            "nextIndex only rises: no index is given twice",
            ".nextIndex",
        ),
    ),
    GraphTrial: (_STATUS_STAYS,),
    GraphTrialObjectStatus: (
        _kept("attempts", "number"),
        _kept("rungs", "evaluation"),
        _set_once("outcome"),
        _set_once("endedAt"),
        *(_settled_by("outcome", field) for field in ("message", "score", "nodes", "checkpoint")),
    ),
    Attempt: (_fact("!has(oldSelf.end) || self == oldSelf", "an attempt that has ended never changes"),),
    Rung: (
        _fact("self == oldSelf", "a recorded rung never changes"),
        Rule("has(self.score) != has(self.notFinite)", "give exactly one of score and notFinite"),
    ),
}
"""For every model of a status, and for the two resources."""
