"""Weights that the user names: published objects, safetensors, plain dictionaries, torchvision's."""

from __future__ import annotations

import logging
import math
import re
from urllib.parse import unquote

import pytest
import safetensors.torch
import torch
from tests.trials import label_edge, trial_spec
from torchvision.models import get_model, get_model_weights

from graphtrial.contract import TrialSpec
from graphtrial.models import build
from graphtrial.storage import Unreachable, open_store
from graphtrial.storage.s3 import S3Store
from graphtrial.training.checkpoint import TrialFolder
from graphtrial.training.errors import RefusedError
from graphtrial.training.networks import build_networks, publish

CPU = torch.device("cpu")
TORCHVISION = "torchvision:shufflenet_v2_x0_5"


def start(folder, weights, *, model="resnet8", kind="Trained", classes=10):
    """The network of a node with these weights; a frozen one beside one that learns."""
    node = {"name": "1", "kind": kind, "model": model, "weights": weights}
    nodes = [node] if kind == "Trained" else [node, {"name": "2", "model": "resnet8"}]
    graph = {"nodes": nodes, "edges": [label_edge(nodes[-1]["name"])], "target": nodes[-1]["name"]}
    spec = TrialSpec.model_validate(trial_spec(folder / "trial", graph=graph))
    made = build_networks(
        spec, frozenset("1"), classes=classes, channels=1, image_size=8, train_digest="digest", device=CPU
    )
    return made["1"]


def source(model="resnet8", classes=10, channels=1):
    """A network whose weights are to be taken."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return build(model, classes=classes, channels=channels, image_size=8)


def same(one, other):
    """Whether two networks have equal weights."""
    return all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def published(folder, network, model="resnet8"):
    """As a trial publishes it."""
    uri = (folder / "made.pt").as_uri()
    graph = {"nodes": [{"name": "1", "model": model}], "edges": [label_edge("1")]}
    spec = TrialSpec.model_validate(trial_spec(folder, graph=graph, publish={"1": uri}))
    publish(spec, {"1": network}, "of other images")
    return uri


def exported(folder, network, model=""):
    """As a trial leaves it for others, copied out of its folder without its checksum."""
    TrialFolder(open_store((folder / "made").as_uri()), 1).export({"1": network})
    path = folder / "copy.safetensors"
    path.write_bytes((folder / "made" / "weights" / "1.safetensors").read_bytes())
    return path.as_uri()


def plain(folder, network, model=""):
    """As users save one."""
    torch.save(network.state_dict(), folder / "plain.pt")
    return str(folder / "plain.pt")


FORMS = pytest.mark.parametrize("saved", [published, exported, plain])


@FORMS
@pytest.mark.parametrize("kind", ["Trained", "Frozen"])
@pytest.mark.parametrize("model", ["resnet8", "abn-resnet8", TORCHVISION])
def test_weights_come_back_as_they_were_saved(tmp_path, saved, kind, model):
    """In every form, into nodes that learn and that teach."""
    network = source(model)
    assert same(start(tmp_path, {"uri": saved(tmp_path, network, model)}, model=model, kind=kind), network)


@FORMS
def test_a_head_for_other_classes_starts_anew_and_the_log_says_so(tmp_path, saved, caplog):
    """Everything below it is as it was saved."""
    network = source(classes=100)
    with caplog.at_level(logging.INFO):
        made = start(tmp_path, {"uri": saved(tmp_path, network)}, classes=7)
    assert same(made.lower, network.lower)
    assert same(made.last, network.last)
    assert made.linear.weight.shape == (7, 64)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("node '1' takes its weights from ")
    assert line.endswith("; layers for 100 classes start anew for 7")


@FORMS
def test_a_frozen_node_of_other_classes_is_refused(tmp_path, saved):
    """Its head would teach noise."""
    message = r"graph.nodes\[0\].weights.uri: .* do not fit node '1': they are for 100 classes, and there are 7"
    with pytest.raises(RefusedError, match=message):
        start(tmp_path, {"uri": saved(tmp_path, source(classes=100))}, classes=7, kind="Frozen")


@pytest.mark.parametrize(
    ("saved", "message"), [(published, "is a resnet14 and node '1' a resnet8"), (exported, "has no")]
)
def test_weights_of_another_model_are_refused(tmp_path, saved, message):
    """By name where it is known, else by the tensors."""
    with pytest.raises(RefusedError, match=rf"^graph.nodes\[0\].weights.uri: .*{message}"):
        start(tmp_path, {"uri": saved(tmp_path, source("resnet14"), "resnet14")})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"epoch": 3, "optimizer": {}},
            "holds epoch, optimizer and not tensors by name; use an object that a trial publ",
        ),
        ({}, "holds nothing and not tensors by name"),
    ],
)
def test_a_dictionary_of_other_things_is_refused(tmp_path, content, message):
    """The message says what it holds and what would be right."""
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(RefusedError, match=rf"graph.nodes\[0\].weights.uri: .*other.pt {message}"):
        start(tmp_path, {"uri": (tmp_path / "other.pt").as_uri()})


SPOILT = {
    "bad.safetensors": (lambda path: path.write_bytes(b"bad"), "cannot be read as safetensors"),
    "bad.pt": (lambda path: path.write_bytes(b"bad"), "cannot be read by torch.load with weights_only"),
    "module.pt": (lambda path: torch.save(source(), path), "cannot be read by torch.load with weights_only"),
    "list.pt": (lambda path: torch.save([torch.zeros(3)], path), "holds a list and not a dictionary"),
    "nowhere.pt": (lambda _: None, "does not exist"),
    "folder.pt": (lambda path: path.mkdir(), "is a folder and no object"),
    "numbered.pt": (lambda path: torch.save({1: torch.zeros(3)}, path), "holds 1 and not tensors by name"),
    "nested.pt": (
        lambda path: torch.save({"weights": [1], "model": "resnet8", "train_digest": ""}, path),
        "holds list and not tensors by name",
    ),
    "sparse.pt": (
        lambda path: torch.save(changed(lambda bias: bias.to_sparse()), path),
        "has a linear.bias of torch.float32, torch.sparse_coo; a network has dense, real tensors",
    ),
    "complex.pt": (
        lambda path: torch.save(changed(lambda bias: bias.to(torch.complex64)), path),
        "has a linear.bias of torch.complex64, torch.strided; a network has dense, real tensors",
    ),
    "nan.pt": (lambda path: torch.save(changed(lambda bias: bias * math.nan), path), "has a linear.bias that is not"),
    "inf.safetensors": (
        lambda path: safetensors.torch.save_file(changed(lambda bias: bias / 0), path),
        "has a linear.bias that is not finite",
    ),
}
"""What a user may name that no network can start from, and what is said of it."""


@pytest.mark.parametrize("place", ["my%20weights/a%20b.pt", "my%20weights/a%2520b.pt", "100%25/caf%C3%A9.pt"])
def test_the_uri_of_a_file_is_quoted_as_a_whole(tmp_path, place):
    """Its folder and its name alike; an absolute path is what it says."""
    path = tmp_path / unquote(place)
    path.parent.mkdir()
    network = source()
    torch.save(network.state_dict(), path)
    for uri in (f"{tmp_path.as_uri()}/{place}", str(path)):
        assert same(start(tmp_path, {"uri": uri}), network)


@pytest.mark.parametrize(
    "uri",
    ["/models/.best.pt", "file:///models/%2Ebest.pt", "s3://models/good/.best.pt", "file:///models/best.pt.sha256"],
)
def test_a_name_that_no_store_holds_is_refused(tmp_path, uri):
    """With its field and what to do."""
    message = rf"^graph.nodes\[0\].weights.uri: '{uri}' is not read: .* may not start with a dot .*; rename it"
    with pytest.raises(RefusedError, match=message):
        start(tmp_path, {"uri": uri})


def changed(change):
    """Good weights with another bias of the head."""
    weights = {name: value.contiguous() for name, value in source().state_dict().items()}
    return weights | {"linear.bias": change(weights["linear.bias"])}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize("name", SPOILT)
def test_what_no_network_can_start_from_is_refused(tmp_path, name):
    """With its field and its file: another attempt would find the same. A pickle is never run."""
    make, message = SPOILT[name]
    make(tmp_path / name)
    with pytest.raises(RefusedError, match=rf"^graph.nodes\[0\].weights.uri: .*{re.escape(name)} {message}"):
        start(tmp_path, {"uri": (tmp_path / name).as_uri()})


def test_an_object_that_does_not_agree_with_its_digest_is_refused(tmp_path):
    """A copy without digest is taken at its word, one with another digest is not."""
    uri = published(tmp_path, source())
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "made.pt")
    with pytest.raises(RefusedError, match=r"weights.uri: .*made\.pt is corrupt"):
        start(tmp_path, {"uri": uri})


def test_a_store_that_fails_is_not_the_users_fault(tmp_path, monkeypatch):
    """Another attempt may find it well again."""

    def fails(*_args, **_settings):
        raise Unreachable("s3://weights/one.pt: the S3 server does not answer")

    monkeypatch.setattr(S3Store, "read", fails)
    with pytest.raises(Unreachable):
        start(tmp_path, {"uri": "s3://weights/one.pt"})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub folder that holds, in the place of torchvision's published weights, those of a network made here."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder.parent))

    def hold(name):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            network = get_model(name, weights=None)
        torch.save(network.state_dict(), folder / get_model_weights(name)["IMAGENET1K_V1"].url.rpartition("/")[2])
        return network

    return hold


@pytest.mark.parametrize("model", ["resnet18", "torchvision:resnet18", "abn-resnet18-bypass"])
def test_torchvisions_weights_are_taken_by_name(tmp_path, hub, model, caplog):
    """For our own large ResNets too; the head is for the data's classes, the first convolution for its channels."""
    theirs = hub("resnet18")
    with caplog.at_level(logging.INFO):
        ours = start(tmp_path, {"torchvision": "IMAGENET1K_V1"}, model=model)
    last, first = (ours.layer4, ours.conv1) if ":" in model else (ours.last, ours.lower.conv1)
    assert same(last, theirs.layer4)
    assert torch.equal(first.weight, theirs.conv1.weight.sum(1, keepdim=True))
    messages = [record.message for record in caplog.records]
    assert any(message.endswith("layers for 1000 classes start anew for 10") for message in messages)
    assert any("attention branch starts from random" in message for message in messages) == model.startswith("abn")


def test_a_frozen_abn_has_weights_of_its_branch(tmp_path, hub):
    """A plain ResNet's leave it random, which teaches nothing."""
    hub("resnet18")
    with pytest.raises(RefusedError, match="of the frozen node '1' the attention branch starts from random weights"):
        start(tmp_path, {"torchvision": "IMAGENET1K_V1"}, model="abn-resnet18", kind="Frozen", classes=1000)


def test_weights_that_torchvision_has_not_are_told(tmp_path):
    """The message lists those that there are."""
    message = r"weights.torchvision: torchvision has no weights 'V7' of resnet50; it has IMAGENET1K_V1, IMAGENET1K_V2"
    with pytest.raises(RefusedError, match=message):
        start(tmp_path, {"torchvision": "V7"}, model="abn-resnet50")


def test_weights_that_cannot_be_fetched_are_told(tmp_path, hub, monkeypatch):
    """The message says where to put the file by hand."""

    def offline(*_args, **_settings):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    message = (
        r"resnet18-.*\.pth cannot be fetched \(no route to host\); put resnet18-.* into .*hub/checkpoints, or name"
    )
    with pytest.raises(RefusedError, match=message):
        start(tmp_path, {"torchvision": "IMAGENET1K_V1"}, model="resnet18")
