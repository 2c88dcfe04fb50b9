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
