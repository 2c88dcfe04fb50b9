"""One search, or one trial applied by hand, as the operator knows it between two turns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from graphsearch.api import ConditionType, GraphSearchStatus
from graphsearch.api.wire import Object
from graphsearch.cluster.recorded import Recorded
from graphsearch.cluster.world import ClusterWorld


@dataclass
class Entry:
    """One search, or one trial applied by hand."""

    obj: Object
    recorded: Recorded
    world: ClusterWorld | None = None
    generation: int = 0
    """Of the manifest that the world has settled."""
    spec: Object | None = None
    """Its specification, likewise."""
    shown: GraphSearchStatus = field(default_factory=GraphSearchStatus)
    looked_at: float = -math.inf
    """When its status was last put together."""
    is_behind: bool = False
    """Whether something may have moved since."""
    is_deleted: bool = False
    not_made: str = ""
    """What was last announced as not to be made now, in words."""
    unknown: tuple[str, ...] = ()
    """Fields of its manifest that only a newer version knows."""
    missing: set[str] = field(default_factory=set)
    """Names of trials that were heard to be deleted."""

    @property
    def is_alone(self) -> bool:
        """Whether it is a trial applied by hand."""
        return bool(self.obj["kind"] == "GraphTrial")

    @property
    def namespace(self) -> str:
        """Of the search and all its children."""
        return str(self.obj["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Of the object."""
        return str(self.obj["metadata"]["name"])

    @property
    def has_ended(self) -> bool:
        """Whether its facts say so."""
        if self.is_alone:
            return bool(self.obj.get("status", {}).get("outcome"))
        return self.shown.facts is not None and self.shown.facts.ended_at is not None

    @property
    def remarks(self) -> dict[ConditionType, str]:
        """What is to be said with conditions that have nothing else to say."""
        newer = f"left out of account, for only a newer operator knows it: {', '.join(self.unknown)}"
        return {ConditionType.ACCEPTED: newer if self.unknown else "", ConditionType.PROGRESSING: self.not_made}
