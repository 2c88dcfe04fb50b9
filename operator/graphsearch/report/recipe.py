"""The graph that was found as a GraphSearch of its own, to be run again or on other data."""

from __future__ import annotations

from graphsearch.api import API_VERSION, Asha, Budget, Comparison, DesiredState, GraphSearch, Scheduler, write_manifest
from graphsearch.report.record import SearchRecord
from graphtrial.contract import Graph, ScoreOf

_HEAD = """\
# The graph that the search {name} found, with the baselines that it is compared with.
# For other data change spec.data (and metadata.name); then: graphsearch run recipe.yaml
"""


def recipe(record: SearchRecord) -> str | None:
    """YAML of a manifest with fixed ``graphs`` whose last graph is the one that was found; None if none was.

    Its training, data and objective are the search's. Where a search of kind BestNode has chosen its node, that
    node is the target: choosing again on test images would flatter it.
    """
    if record.found is None:
        return None
    old = record.manifest
    spec = old.spec
    chosen = spec.objective.score_of is ScoreOf.BEST_NODE and record.facts.winner_node
    score_of = ScoreOf.TARGET_NODE if chosen else spec.objective.score_of
    new = spec.model_copy(
        update={
            "objective": spec.objective.model_copy(update={"goal": None, "score_of": score_of}),
            "space": None,
            "graphs": _graphs(record, record.found.graph),
            "scheduler": Scheduler(asha=Asha()),
            "budget": Budget(parallel_trials=spec.budget.parallel_trials),
            "comparison": spec.comparison or Comparison(),
            "compression": None,
            "ttl_seconds_after_finished": None,
            "desired_state": DesiredState.RUNNING,
        }
    )
    metadata = old.metadata.model_copy(update={"name": old.metadata.name[:33].rstrip("-") + "-recipe"})
    manifest = GraphSearch(api_version=API_VERSION, kind="GraphSearch", metadata=metadata, spec=new)
    return _HEAD.format(name=old.metadata.name) + write_manifest(manifest)


def _graphs(record: SearchRecord, found: Graph) -> tuple[Graph, ...]:
    """The found graph, after the graphs of the list that it starts from, directly or through others."""
    listed = {graph.name: graph for graph in record.manifest.spec.graphs}
    needed: dict[str, Graph] = {}
    waiting = [found]
    while waiting:
        graph = waiting.pop()
        starts = {node.weights.node.graph for node in graph.nodes if node.weights and node.weights.node}
        waiting += [listed[name] for name in starts - needed.keys()]
        needed |= {name: listed[name] for name in starts}
    return (*(graph for name, graph in listed.items() if name in needed), _named(found))


def _named(graph: Graph) -> Graph:
    return graph if graph.name else graph.model_copy(update={"name": "found"})
