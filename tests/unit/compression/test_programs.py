"""A network stored as programs: each gives what the network gives, and runs without this package."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import textwrap

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from graphtrial.compression import MismatchError, NotExportedError, export, load, programs
from graphtrial.models import build

MEAN, STD = torch.tensor([0.4]), torch.tensor([0.2])
IMAGES = torch.arange(5 * 64).remainder(256).view(5, 1, 8, 8) / 255


def a_network():
    """A resnet8 in training mode whose BatchNorm has seen images."""
    torch.manual_seed(0)
    network = build("resnet8", classes=10, channels=1, image_size=8)
    network(torch.rand(16, 1, 8, 8))
    return network


def exported(network, images=IMAGES):
    """Of the samples."""
    return export(network, "student", model="resnet8", mean=MEAN, std=STD, images=images)


def alone(folder, code):
    """What three lines and a print give in a process that has not got this package."""
    script = textwrap.dedent(code)
    command = [sys.executable, "-I", "-W", "error", "-c", f"import sys; sys.modules['graphtrial'] = None\n{script}"]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files in a folder, with what was said of each, and the network's own logits."""
    torch.set_num_threads(1)
    folder, network = tmp_path_factory.mktemp("exported"), a_network()
    made = exported(network)
    for one in made:
        (folder / one.said.name).write_bytes(one.content)
    with torch.no_grad():
        logits = network.eval()((IMAGES - 0.4) / 0.2)
    torch.save(IMAGES, folder / "images.pt")
    (folder / "images.json").write_text(json.dumps((IMAGES).tolist()))
    return folder, [one.said for one in made], logits


class Tied(nn.Module):
    """A user's network, one of whose layers has two names and two of whose layers have one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.alias, self.second.weight = self.first, self.first.weight

    def forward(self, images):
        """Logits."""
        return self.head(self.second(self.alias(images.flatten(1)).relu()))


def test_tied_weights_are_no_obstacle():
    """Each form is made, and the weights alone hold a tensor under each of its names."""
    network = Tied()
    made = exported(network)
    assert [one.said.problem for one in made] == ["", "", ""]
    assert safetensors.torch.load(made[0].content).keys() == network.state_dict().keys()


def test_every_form_is_made_and_measured(written):
    """Name, size in bytes, and how far its logits are off."""
    folder, said, _ = written
    assert [(one.kind, one.name) for one in said] == [
        ("safetensors", "student.safetensors"),
        ("torch.export", "student.pt2"),
        ("ONNX", "student.onnx"),
    ]
    assert [one.size for one in said] == [(folder / one.name).stat().st_size for one in said]
    assert all(one.difference <= one.tolerance <= 1e-3 for one in said)


def test_three_lines_of_torch_run_the_program(written):
    """In a fresh process, with another number of images than it was made from."""
    folder, _, logits = written
    code = """
        import torch
        network = torch.export.load("student.pt2").module()
        logits = network(torch.load("images.pt")[:3])
        import json; print(json.dumps(logits.tolist()))
    """
    torch.testing.assert_close(alone(folder, code), logits[:3], rtol=1e-4, atol=1e-4)


def test_three_lines_of_onnx_run_the_program(written):
    """In a fresh process that imports no torch."""
    folder, _, logits = written
    code = """
        import json, numpy, onnxruntime
        images = numpy.array(json.load(open("images.json")), dtype=numpy.float32)
        session = onnxruntime.InferenceSession("student.onnx")
        (logits,) = session.run(None, {"images": images[:1]})
        assert "torch" not in sys.modules
        print(json.dumps(logits.tolist()))
    """
    torch.testing.assert_close(alone(folder, code), logits[:1], rtol=1e-4, atol=1e-4)


def test_weights_say_what_they_belong_to(written):
    """Model, classes, image shape and normalisation stand in the file's metadata; the tensors are the network's."""
    folder, _, logits = written
    with safe_open(folder / "student.safetensors", "pt") as file:
        about = json.loads(file.metadata()["network"])
    assert about == {
        "model": "resnet8",
        "classes": 10,
        "shape": [1, 8, 8],
        "mean": pytest.approx([0.4]),
        "std": pytest.approx([0.2]),
    }
    torch.testing.assert_close(load(folder / "student.safetensors")(IMAGES), logits)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, "not the weights of an exported network"),
        ({"model": "resnet14", "classes": 10, "shape": [1, 8, 8], "mean": [0.4], "std": [0.2]}, "do not fit resnet14"),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path, metadata, said):
    """Those of a search's network, which say nothing of themselves, and those of another architecture."""
    path = tmp_path / "other.safetensors"
    told = {"network": json.dumps(metadata)} if metadata else None
    weights = {key: tensor.contiguous() for key, tensor in a_network().state_dict().items()}
    safetensors.torch.save_file(weights, path, metadata=told)
    with pytest.raises(NotExportedError, match=rf"other\.safetensors.*{said}"):
        load(path)


def test_a_file_that_is_no_weights_is_refused_by_name(tmp_path):
    """Half a download, say."""
    path = tmp_path / "half.safetensors"
    path.write_bytes(b"\x08\0\0\0")
    with pytest.raises(NotExportedError, match=r"half\.safetensors"):
        load(path)


def test_the_network_stays_as_it_is():
    """Its mode, its layout and whether it learns."""
    network = a_network()
    layout = [tensor.stride() for tensor in network.state_dict().values()]
    exported(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert [tensor.stride() for tensor in network.state_dict().values()] == layout


class _Branching(nn.Module):
    """Branches on what it sees, which no tracer can follow."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        flat = images.flatten(1)
        return self.linear(flat if flat.sum() > 0 else -flat)


def test_a_form_that_cannot_be_made_says_why():
    """The weights are there all the same."""
    weights, program, onnx = exported(_Branching())
    assert (weights.said.name, bool(weights.content)) == ("student.safetensors", True)
    for one in (program, onnx):
        assert (one.said.name, one.content) == ("", b"")
        assert "data-dependent" in one.said.problem.lower()


def test_missing_packages_are_named(monkeypatch):
    """With the extra that has them."""
    monkeypatch.setattr(programs, "find_spec", lambda _: None)
    *_, onnx = exported(a_network())
    assert onnx.said.problem == "onnx, onnxscript, onnxruntime not installed; pip install 'graphsearch[onnx]'"


def test_a_program_that_gives_something_else_is_refused(monkeypatch):
    """No file that differs is handed out."""
    made = programs._torch_export
    monkeypatch.setattr(programs, "_torch_export", lambda *given: (made(*given)[0], made(*given)[1] + 0.01))
    with pytest.raises(MismatchError, match=r"student\.pt2: its logits differ from the network's by up to 0\.01"):
        exported(a_network())


def test_a_single_sample_is_enough():
    """The program takes more images all the same."""
    network = a_network()
    _, program, _ = exported(network, IMAGES[:1])
    again = torch.export.load(io.BytesIO(program.content)).module()
    with torch.no_grad():
        torch.testing.assert_close(again(IMAGES), network.eval()((IMAGES - 0.4) / 0.2), rtol=1e-4, atol=1e-4)
