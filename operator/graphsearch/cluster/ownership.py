"""Whose an object is: its controlling ownerReference tells, never its name or labels, which anybody may copy."""

from __future__ import annotations

from collections.abc import Mapping

from graphsearch.api import names as n
from graphsearch.api.wire import Object


def is_owned(metadata: Mapping[str, object], uid: str) -> bool:
    """Whether an object's controller is the one of this uid."""
    references = metadata.get("ownerReferences") or []
    assert isinstance(references, list)
    return any(reference.get("controller") and reference.get("uid") == uid for reference in references)


def owner_of(obj: Object) -> Object:
    """The ownerReference that a child of this object carries; it never blocks the owner's deletion."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def parent_of(metadata: Object) -> str:
    """The uid of the search, or of the trial applied by hand, that made a trial; empty if somebody else did."""
    owners = metadata.get("ownerReferences", ())
    made_by = (owner for owner in owners if owner.get("controller") and owner["apiVersion"].startswith(f"{n.GROUP}/"))
    return next((str(owner["uid"]) for owner in made_by), "")


def is_left(trial: Object) -> bool:
    """Whether a trial that no search owns is part of one nevertheless: somebody else's, or what is left of it."""
    is_part = "searchRef" in trial["spec"] and "data" not in trial["spec"]
    return is_part and bool(trial["metadata"].get("ownerReferences") or trial.get("status", {}).get("outcome"))
