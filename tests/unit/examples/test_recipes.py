"""The recipes: each is the graph that its method says (spec 6, 11), trains, and has its place in docs/methods.md."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from tests.known_methods import FOUND, RECIPES
from tests.small_graphs import small
from torch import Tensor, nn

from graphsearch.api import GraphSearch, read_manifest, resolve
from graphtrial.contract import Graph, LossType, NodeKind, ScoreOf, needed_nodes
from graphtrial.models import build, share_trunk
from graphtrial.training.averages import MovingAverages
from graphtrial.training.sgd import Sgd
from graphtrial.training.step import GraphStep, Images

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples/recipes"
PAGE = (ROOT / "docs/methods.md").read_text()


def manifest_of(recipe: str) -> GraphSearch:
    """As a user would read it."""
    return read_manifest(FOLDER / f"{recipe}.yaml")


def nameless(graph: Graph) -> Graph:
    """A graph without what its list calls it."""
    return graph.model_copy(update={"name": ""})


def test_every_recipe_has_its_graph_stated():
    """No file without a graph that is worked out from the method's text, and none missing."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_the_graph_of_its_method(recipe: str):
    """Node for node and edge for edge, stages included, scored as stated (spec 6, 11)."""
    manifest = manifest_of(recipe)
    stated = {name: method.graph.obj() for name, method in RECIPES[recipe].items()}
    assert {graph.name: nameless(graph) for graph in manifest.spec.graphs} == stated
    assert {method.score_of for method in RECIPES[recipe].values()} == {manifest.spec.objective.score_of}
    assert manifest.metadata.name == recipe
    assert (FOLDER / f"{recipe}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_trained_by_a_table_of_the_thesis(recipe: str):
    """Its preset and nothing else (spec 7); unlabelled images where its graphs ask for them."""
    spec = manifest_of(recipe).spec
    assert set(spec.training.to_json()) <= {"preset"}
    semi_supervised = any(graph.semi_supervised for graph in spec.graphs)
    assert semi_supervised == (spec.data.labelled is not None)
    assert semi_supervised == (spec.training.preset in ("FixMatch", "DiverseCIFAR100"))


def networks_of(graph: Graph) -> dict[str, nn.Module]:
    """Of random weights: teachers are not trained here."""
    torch.manual_seed(0)
    networks = {
        node.name: build(node.model, classes=3, channels=3, image_size=16) for node in graph.nodes if node.model
    }
    if trunk := [networks[node.name] for node in graph.nodes if node.trunk]:
        share_trunk(trunk)
    for node in graph.nodes:
        if node.kind is NodeKind.FROZEN:
            networks[node.name].requires_grad_(False)
        if node.kind is NodeKind.EMA:
            networks[node.name] = copy.deepcopy(networks[node.follows]).requires_grad_(False)
    return networks


def weights(network: nn.Module) -> Tensor:
    """Of all parameters, in one row."""
    return torch.cat([parameter.detach().flatten().clone() for parameter in network.parameters()])


@pytest.mark.parametrize(
    ("recipe", "name"), [(recipe, name) for recipe, graphs in RECIPES.items() for name in graphs], ids=str
)
def test_a_recipe_trains_two_steps(recipe: str, name: str):
    """With small networks: losses are finite, who learns or follows moves, and frozen teachers stay (spec 4)."""
    manifest = manifest_of(recipe)
    written = next(graph for graph in manifest.spec.graphs if graph.name == name)
    graph, training = small(written), resolve(manifest.spec.training)
    networks = networks_of(graph)
    before = {name: weights(network) for name, network in networks.items()}
    step = GraphStep(
        graph,
        networks,
        needed=needed_nodes(graph, manifest.spec.objective.score_of),
        total_steps=3,
        training=training,
        device=torch.device("cpu"),
    )
    sgd, averages = Sgd([[networks[name] for name in step.names]], training), MovingAverages(graph, networks)
    for _ in range(2):
        views = (torch.randn(8, 3, 16, 16), torch.randn(8, 3, 16, 16)) if graph.semi_supervised else ()
        losses = step.losses(Images(torch.randn(6, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1, 2]), *views))
        assert torch.isfinite(losses.nodes).all()
        losses.total.backward()
        sgd.update(0.05)
        averages.update()
    moved = {name for name, network in networks.items() if not torch.equal(weights(network), before[name])}
    assert moved == {node.name for node in graph.nodes if node.kind in (NodeKind.TRAINED, NodeKind.EMA)}


def edge_table(graph: Graph) -> str:
    """A graph's live edges as docs/methods.md shows them, averages among them."""
    lines = ["| from | to | loss | gate |", "|---|---|---|---|"]
    for edge in graph.live_edges():
        loss = edge.loss
        told = [f"T = {loss.temperature:g}"] if loss.temperature != 1 else []
        told += [f"weight {loss.weight:g}"] if loss.weight != 1 else []
        told += [f"above {loss.threshold:g}"] if loss.type is LossType.THRESHOLDED_PSEUDO_LABEL else []
        told += [f"crops {', '.join(map(str, loss.crops))}"] if loss.crops else []
        shown = ", ".join([loss.type.value, *told])
        lines.append(f"| {edge.source} | {edge.destination} | {shown} | {edge.gate.type.value} |")
    lines += [
        f"| {node.follows} | {node.name} | EMA, {node.decay:g} | |" for node in graph.nodes if node.kind is NodeKind.EMA
    ]
    return "\n".join(lines)


def node_line(graph: Graph) -> str:
    """A graph's nodes as docs/methods.md shows them."""
    shown = []
    for node in graph.nodes:
        told = [node.model] if node.model else []
        told += ["frozen"] if node.kind is NodeKind.FROZEN else []
        if node.kind is NodeKind.ENSEMBLE:
            told.append(f"mean {node.average.value.lower()} of {', '.join(node.members)}")
        if node.kind is NodeKind.EMA:
            told.append(f"average of {node.follows}")
        told += [f"trunk {node.trunk}"] if node.trunk else []
        if node.weights and node.weights.pretrained:
            told.append(f"pretrained, copy {node.weights.pretrained.copy_number}")
        if node.weights and node.weights.node:
            told.append(f"from {node.weights.node.graph}")
        shown.append(f"**{node.name}** {'; '.join(told)}")
    return f"`{graph.name}`: " + ", ".join(shown)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_page_of_methods_shows_each_recipe(recipe: str):
    """Its command, its nodes and its edges, as they are in the recipe; found graphs are gathered at the end."""
    section = section_of(recipe)
    assert f"graphsearch run examples/recipes/{recipe}.yaml" in section
    for graph in manifest_of(recipe).spec.graphs:
        assert node_line(graph) in section
        assert edge_table(graph) in section


def section_of(recipe: str) -> str:
    """From a recipe's heading to the next."""
    sections = re.split(r"^(?=#+ )", PAGE, flags=re.MULTILINE)
    (found,) = [section for section in sections if f"recipes/{recipe}.yaml" in section]
    return found


def test_figures_with_gaps_are_comments():
    """A figure of spec 11 of which not every edge is known is told of where its chapter's graphs are, and no recipe."""
    told = {recipe: (FOLDER / f"{recipe}.yaml").read_text().partition("apiVersion")[0] for recipe in FOUND}
    chapters = {"found-3-7a": ["3.7b", "3.7c", "3.7d-f, 3.8"], "found-4-11a": ["4.8", "4.10b", "4.10c", "4.10d"]}
    chapters["found-5-9"] = ["5.10a", "5.10b", "5.10c, d"]
    for recipe, figures in chapters.items():
        assert [figure for figure in figures if f"#   {figure} " not in told[recipe]] == []
        assert "Unknown" in told[recipe]


def test_a_recipe_is_scored_by_something_that_learns():
    """Ensembles where the method is one (Independent, Born-Again, chapter 4), else the node that is asked for."""
    ensembles = {recipe for recipe in RECIPES if manifest_of(recipe).spec.objective.score_of is ScoreOf.ENSEMBLE}
    assert ensembles == {"independent", "born-again", "found-4-11a", "found-4-11b"}


@pytest.mark.parametrize("recipe", ["born-again", "teacher-assistant"])
def test_no_two_stages_start_from_the_same_weights(recipe: str):
    """First weights follow from the seed, which stages share, and the name of the node."""
    stages = [graph for graph in manifest_of(recipe).spec.graphs if graph.name != "chain"]
    students = [node.name for graph in stages for node in graph.nodes if node.kind is NodeKind.TRAINED]
    assert len(set(students)) == len(students) == len(stages)
