"""A network as programs that run without this package, each checked against the network itself (spec 9).

    NAME.safetensors    weights alone, which ``load`` makes a program of again: the architecture is in their metadata
    NAME.pt2            ``torch.export``: runs wherever torch does
    NAME.onnx           runs in any ONNX runtime; needs the extra ``onnx``

The programs take pixels as they are, float32 in 0..1, and normalise them: whoever runs one need not know by what.
Weights alone need this package; the other two do not.

Decided against: TorchScript, which torch has given up, and a pickled module, which runs code when it is read.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from graphtrial.contract import Exported
from graphtrial.models import build, weights_of

TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest logit or 1: float32 sums that were reordered stay far below."""
_EXTRA = ("onnx", "onnxscript", "onnxruntime")
_ABOUT = "network"
"""Under which the metadata of weights say what network they are of."""

_log = logging.getLogger(__name__)
for _chatty in ("onnx_ir", "onnxscript"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)


class MismatchError(Exception):
    """A program gives other outputs than the network that it was made from."""


class NotExportedError(Exception):
    """A file is not the weights of a network that was exported."""


class Export(NamedTuple):
    """A network in one form."""

    said: Exported
    content: bytes
    """Empty where it could not be made."""


class _Program(nn.Module):
    """Pixels in 0..1, [B, C, S, S], to logits, [B, classes]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.clone().view(1, -1, 1, 1))
        self.register_buffer("std", std.clone().view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


def export(network: nn.Module, name: str, *, model: str, mean: Tensor, std: Tensor, images: Tensor) -> list[Export]:
    """A network in every form that can be made here, in evaluation mode and float32.

    A form that torch cannot make of this network, or whose packages are missing, is left out and says why.

    Args:
        network: From normalised images to logits; stays as it is.
        name: Of the files, without their ending.
        model: The network's, for whoever loads its weights.
        mean: float32 [C], which it expects subtracted from pixels in 0..1.
        std: float32 [C], by which it expects them divided.
        images: Samples, float32 in 0..1, [B, C, S, S].

    Raises:
        MismatchError: If a program gives other logits for the samples than the network; the message says how far off.
    """
    program = _Program(_plain(network), mean.cpu(), std.cpu()).eval()
    # Traced with one image, a program would take one image only.
    samples = images.cpu().contiguous() if len(images) > 1 else torch.cat([images, images]).cpu()
    with torch.no_grad():
        expected = program(samples)
    about = {
        "model": model,
        "classes": expected.shape[1],
        "shape": list(samples.shape[1:]),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
    forms: list[tuple[str, str, Callable[[], tuple[bytes, Tensor]]]] = [
        ("safetensors", "safetensors", lambda: _weights(program, {_ABOUT: json.dumps(about)}, samples)),
        ("torch.export", "pt2", lambda: _torch_export(program, samples)),
        ("ONNX", "onnx", lambda: _onnx(program, samples)),
    ]
    shape = tuple(samples.shape[1:])
    return [
        _made(Exported(name=f"{name}.{ending}", kind=kind, shape=shape), make, expected) for kind, ending, make in forms
    ]


def load(file: str | Path) -> nn.Module:
    """The network of exported weights, in evaluation mode: from pixels in 0..1, [B, C, S, S], to logits, [B, classes].

    Args:
        file: ``NAME.safetensors``.

    Raises:
        NotExportedError: If the file is none of ours, or of another version of a user's own network.
        ModelError: If there is no such network here: one of a package that is not installed, or a user's own.
        FileNotFoundError: If it is not there.
    """
    try:
        with safe_open(file, "pt") as weights:
            about = json.loads((weights.metadata() or {})[_ABOUT])
            state = {key: weights.get_tensor(key) for key in weights.keys()}  # noqa: SIM118  it is no mapping
    except (KeyError, SafetensorError) as error:
        raise NotExportedError(f"{file}: not the weights of an exported network ({error})") from error
    channels, *_, side = about["shape"]
    network = build(about["model"], classes=about["classes"], channels=channels, image_size=side)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise NotExportedError(f"{file}: its weights do not fit {about['model']}: {error}") from error
    return _Program(_plain(network), torch.tensor(about["mean"]), torch.tensor(about["std"])).eval()


def _plain(network: nn.Module) -> nn.Module:
    """A copy on the CPU, laid out without gaps in the order of its dimensions."""
    plain = copy.deepcopy(network).to("cpu", torch.float32)
    for tensor in [*plain.parameters(), *plain.buffers()]:
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
        tensor.requires_grad_(False)
    return plain


def _made(asked: Exported, make: Callable[[], tuple[bytes, Tensor]], expected: Tensor) -> Export:
    try:
        content, logits = make()
    except Exception as error:  # what torch cannot trace, it says in exceptions of every kind
        problem = " ".join(str(error).split())[:300] or repr(error)
        _log.warning("no %s of the network: %s", asked.kind, problem)
        return Export(asked.model_copy(update={"name": "", "problem": problem}), b"")
    tolerance = TOLERANCE * max(1.0, float(expected.abs().max()))
    name, difference = asked.name, float((logits - expected).abs().max())
    if not difference <= tolerance:
        raise MismatchError(
            f"{name}: its logits differ from the network's by up to {difference:.2g}, where {tolerance:.2g} is allowed"
        )
    measured = {"size": len(content), "difference": difference, "tolerance": tolerance}
    _log.info("%s: %d bytes, logits differ from the network's by up to %.2g", name, len(content), difference)
    return Export(asked.model_copy(update=measured), content)


def _weights(program: _Program, about: dict[str, str], samples: Tensor) -> tuple[bytes, Tensor]:
    """The network's own weights, and what it gives after they have been read back."""
    content = safetensors.torch.save(weights_of(program.network), metadata=about)
    again = copy.deepcopy(program)
    again.network.load_state_dict(safetensors.torch.load(content))
    with torch.no_grad():
        return content, again(samples)


def _torch_export(program: _Program, samples: Tensor) -> tuple[bytes, Tensor]:
    file = io.BytesIO()
    torch.export.save(_traced(program, samples), file)
    file.seek(0)
    with torch.no_grad():
        return file.getvalue(), torch.export.load(file).module()(samples)


def _traced(program: _Program, samples: Tensor) -> torch.export.ExportedProgram:
    """With any number of images."""
    shapes = {"images": {0: torch.export.Dim("batch")}}
    return torch.export.export(program, (samples,), dynamic_shapes=shapes)


def _onnx(program: _Program, samples: Tensor) -> tuple[bytes, Tensor]:
    if missing := [package for package in _EXTRA if find_spec(package) is None]:
        raise ModuleNotFoundError(f"{', '.join(missing)} not installed; pip install 'graphsearch[onnx]'")
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter, about its own future
        made = torch.onnx.export(
            _traced(program, samples), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
        )
    assert made is not None
    content = made.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": samples.numpy()})
    return content, torch.from_numpy(logits)
