"""First weights, teachers and published weights."""

import pytest
import torch
from tests.trials import label_edge, single_node, three_nodes, transfer_edge, trial_spec

from graphtrial.contract import TrialSpec
from graphtrial.storage import Corrupt, open_store
from graphtrial.training.errors import RefusedError
from graphtrial.training.networks import build_networks, publish

CPU = torch.device("cpu")


def networks(folder, *, needed="123", digest="digest", **changes):
    """Those of a spec with these changes, and the spec."""
    spec = TrialSpec.model_validate(trial_spec(folder, **changes))
    made = build_networks(
        spec, frozenset(needed), classes=10, channels=1, image_size=8, train_digest=digest, device=CPU
    )
    return made, spec


def same(one, other):
    """Whether two networks have equal weights."""
    return all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.fixture
def published(tmp_path):
    """The URI of a ResNet8's weights, and the network."""
    uri = (tmp_path / "teacher.pt").as_uri()
    made, spec = networks(tmp_path, seed=5, publish={"1": uri})
    publish(spec, made, "digest")
    return uri, made["1"]


def test_a_nodes_first_weights_depend_on_the_seed_and_its_name_alone(tmp_path):
    """Neither on the rest of the graph nor on what torch's generator did before."""
    nodes = [{"name": "2", "model": "wrn-10-1"}, {"name": "1", "model": "resnet8"}]
    graph = {"nodes": nodes, "edges": [label_edge("1"), label_edge("2"), transfer_edge("2", "1")], "target": "1"}
    alone, _ = networks(tmp_path)
    torch.rand(5)
    together, _ = networks(tmp_path, graph=graph)
    assert same(alone["1"], together["1"])


def test_nodes_of_one_model_and_other_seeds_start_from_other_weights(tmp_path):
    """Two ResNet8 in one graph are two networks."""
    nodes = [{"name": name, "model": "resnet8"} for name in ("1", "2")]
    pair, _ = networks(tmp_path, graph={"nodes": nodes, "edges": [label_edge("1"), label_edge("2")]})
    reseeded, _ = networks(tmp_path, seed=1)
    assert not same(pair["1"], pair["2"])
    assert not same(pair["1"], reseeded["1"])


def test_building_leaves_torchs_generator_alone(tmp_path):
    """Who draws from it afterwards draws the same."""
    before = torch.get_rng_state()
    networks(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_frozen_node_has_its_teachers_weights_and_no_gradient(tmp_path, published):
    """Those that another trial published."""
    uri, teacher = published
    made, _ = networks(tmp_path, graph=three_nodes(), teachers={"3": uri})
    assert same(made["3"], teacher)
    assert not any(parameter.requires_grad for parameter in made["3"].parameters())


def test_nodes_that_nobody_needs_are_not_built(tmp_path):
    """They would cost memory, and their teachers need not exist."""
    made, _ = networks(tmp_path, needed="12", graph=three_nodes())
    assert set(made) == {"1", "2"}


def test_a_users_own_weights_may_come_from_other_images(tmp_path, published):
    """A URI in the graph says so on purpose, unlike a teacher of the search."""
    uri, teacher = published
    graph = single_node()
    graph["nodes"][0]["weights"] = {"uri": uri}
    made, _ = networks(tmp_path, digest="of other images", graph=graph)
    assert same(made["1"], teacher)


def test_a_teacher_of_other_images_is_refused(tmp_path, published):
    """It may have seen validation images."""
    with pytest.raises(RefusedError, match="was trained on other images"):
        networks(tmp_path, digest="of other images", graph=three_nodes(), teachers={"3": published[0]})


def test_a_teacher_of_another_model_is_refused(tmp_path, published):
    """The message names both."""
    graph = three_nodes()
    graph["nodes"][2]["model"] = "resnet14"
    with pytest.raises(RefusedError, match="is a resnet8 and node '3' a resnet14"):
        networks(tmp_path, graph=graph, teachers={"3": published[0]})


def test_a_teacher_of_another_number_of_classes_is_refused(tmp_path, published):
    """Its weights do not fit, and the message says where."""
    spec = TrialSpec.model_validate(trial_spec(tmp_path, graph=three_nodes(), teachers={"3": published[0]}))
    with pytest.raises(RefusedError, match="do not fit node '3'"):
        build_networks(spec, frozenset("3"), classes=7, channels=1, image_size=8, train_digest="digest", device=CPU)


def test_a_teacher_that_is_no_object_of_torch_is_corrupt(tmp_path):
    """An error of the store, which names the URI."""
    open_store(tmp_path.as_uri()).write("bad.pt", b"bad")
    with pytest.raises(Corrupt, match=r"bad\.pt cannot be read"):
        networks(tmp_path, graph=three_nodes(), teachers={"3": (tmp_path / "bad.pt").as_uri()})


def graph_of(*nodes, edges=()):
    """Trained nodes, or what else they say, with a label edge into the first."""
    return {"nodes": list(nodes), "edges": [label_edge(nodes[0]["name"]), *edges]}


def attention_edge(source, destination, **loss):
    """A+ between two nodes."""
    return {"source": source, "destination": destination, "loss": {"type": "AttentionTogether"} | loss}


def test_an_ema_node_starts_as_a_copy_of_the_node_that_it_follows(tmp_path):
    """Algorithm 1, step 1: a network of its own, without gradient, wherever the two stand in the list."""
    graph = graph_of({"name": "1", "model": "resnet8"}, {"name": "2", "model": "wrn-10-1"})
    graph["nodes"].insert(0, {"name": "3", "kind": "EMA", "follows": "2"})
    graph["target"] = "1"
    made, _ = networks(tmp_path, graph=graph)
    assert list(made) == ["3", "1", "2"]
    assert same(made["3"], made["2"])
    assert made["3"] is not made["2"]
    assert not any(parameter.requires_grad for parameter in made["3"].parameters())
    assert all(parameter.requires_grad for parameter in made["2"].parameters())


def test_nodes_of_one_trunk_have_one_module_below(tmp_path):
    """That of the first of them, whose upper layers stay their own; another trunk is another module."""
    names = {"1": "a", "2": "a", "3": "b", "4": "b", "5": ""}
    nodes = [{"name": name, "model": "resnet8"} | ({"trunk": trunk} if trunk else {}) for name, trunk in names.items()]
    made, _ = networks(tmp_path, needed="12345", graph=graph_of(*nodes))
    alone, _ = networks(tmp_path, needed="12345", graph=graph_of(*({"name": n, "model": "resnet8"} for n in names)))
    assert made["1"].lower is made["2"].lower
    assert made["3"].lower is made["4"].lower
    assert len({id(network.lower) for network in made.values()}) == 3
    assert same(made["1"].lower, alone["1"].lower)
    assert all(same(made[name].last, alone[name].last) for name in names)


def test_a_trunk_needs_lower_layers(tmp_path):
    """A model of the user's own may have none, and only here is that known."""
    nodes = [{"name": name, "model": "torch.nn:Plain", "trunk": "a"} for name in "12"]
    with pytest.raises(RefusedError, match=r"graph.nodes\[0\].model: torch.nn:Plain: the module torch.nn has no class"):
        networks(tmp_path, graph=graph_of(*nodes))
    for node in nodes:
        node["model"] = "tests.unit.training.test_networks:Plain"
    with pytest.raises(RefusedError, match=r"graph.nodes\[0\].trunk: Plain has no layers to share"):
        networks(tmp_path, graph=graph_of(*nodes))


class Plain(torch.nn.Module):
    """A model of a user's own that gives logits only."""

    def __init__(self, classes, channels):
        super().__init__()
        self.linear = torch.nn.Linear(channels, classes)

    def forward(self, images):
        """Logits of the mean colour."""
        return self.linear(images.mean((2, 3)))


def test_an_attention_loss_needs_a_map(tmp_path):
    """Of the user's own models only a built one tells."""
    nodes = [{"name": "1", "model": "resnet8"}, {"name": "2", "model": "tests.unit.training.test_networks:Plain"}]
    graph = graph_of(*nodes, edges=[attention_edge("2", "1")])
    message = (
        r"graph.edges\[1\].loss.type: AttentionTogether is an attention loss on a model without a map, that of node '2'"
    )
    with pytest.raises(RefusedError, match=message):
        networks(tmp_path, graph=graph)
    graph["edges"][1]["gate"] = {"type": "Cutoff"}
    assert set(networks(tmp_path, graph=graph)[0]) == {"1", "2"}


def test_unequal_maps_are_refused_unless_they_are_resized(tmp_path):
    """An ABN's map has twice the side of its ResNet's; the message names both."""
    nodes = [{"name": "1", "model": "resnet8"}, {"name": "2", "model": "abn-resnet8"}]
    message = r"graph.edges\[1\].loss.resize: the map of '2' is 4x4 and that of '1' 2x2; give resize: Bilinear"
    with pytest.raises(RefusedError, match=message):
        networks(tmp_path, graph=graph_of(*nodes, edges=[attention_edge("2", "1")]))
    resized = graph_of(*nodes, edges=[attention_edge("2", "1", resize="Bilinear")])
    assert set(networks(tmp_path, graph=resized)[0]) == {"1", "2"}


def test_a_model_that_cannot_take_the_images_is_named(tmp_path):
    """At its node."""
    with pytest.raises(RefusedError, match=r"graph.nodes\[0\].model: torchvision:alexnet cannot take images of 1 cha"):
        networks(tmp_path, graph=graph_of({"name": "1", "model": "torchvision:alexnet"}))


def logits_and_more(classes, channels):
    """A network that gives a tuple in training mode."""

    class Auxiliary(torch.nn.Sequential):
        def forward(self, images):
            logits = super().forward(images)
            return (logits, logits) if self.training else logits

    return Auxiliary(torch.nn.Flatten(), torch.nn.Linear(channels * 64, classes))


def test_a_model_that_gives_no_logits_in_training_mode_is_refused_where_it_is_trained(tmp_path):
    """With its field; as a frozen teacher it is never run in that mode, unless on batch statistics."""
    model = f"{__name__}:logits_and_more"
    uri = str(tmp_path / "weights.pt")
    torch.save(logits_and_more(10, 1).state_dict(), uri)
    message = rf"^graph.nodes\[1\].model: {model} in training mode gives tuple for two images"
    nodes = [{"name": "1", "model": "resnet8"}, {"name": "2", "model": model}]
    graph = {"nodes": nodes, "edges": [label_edge("1"), label_edge("2")]}
    with pytest.raises(RefusedError, match=message):
        networks(tmp_path, graph=graph)
    taught = {
        "nodes": [nodes[0], nodes[1] | {"kind": "Frozen", "weights": {"uri": uri}}],
        "edges": [label_edge("1"), transfer_edge("2", "1")],
    }
    made, spec = networks(tmp_path, graph=taught)
    assert set(made) == {"1", "2"}
    with pytest.raises(RefusedError, match=message):
        networks(tmp_path, graph=taught, training=spec.training.to_json() | {"frozenBatchNorm": False})
