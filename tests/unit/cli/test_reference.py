"""docs/cli.md says all that the program knows, and nothing that it does not."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphsearch.cli.exits import Exit
from graphsearch.cli.main import parser

_TEXT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
_OWN_PAGE = ("crds", "operator")
"""Their options are the installation's business and stand in their own help."""


def _commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(choices.choices)


def _options(command: argparse.ArgumentParser) -> list[str]:
    return [option for action in command._actions for option in action.option_strings]


def _of(command: str) -> str:
    """The paragraphs of a command, with what is said of all."""
    text = _TEXT.partition(f"**`graphsearch {command} ")[2] or _TEXT.partition(f"**`graphsearch {command}`")[2]
    return _TEXT.partition("## Searches on this machine")[0] + re.split(r"\*\*`graphsearch |\n## ", text)[0]


def test_every_command_is_there_with_an_example():
    """And no other."""
    assert set(re.findall(r"^\*\*`graphsearch (\w+)", _TEXT, re.MULTILINE)) == set(_commands())
    assert set(re.findall(r"^    graphsearch (\w+)", _TEXT, re.MULTILINE)) == set(_commands())


@pytest.mark.parametrize("command", [name for name in _commands() if name not in _OWN_PAGE])
def test_every_option_is_there(command: str):
    """Beside its command, or among those of all."""
    assert [option for option in _options(_commands()[command]) if f"`{option}`" not in _of(command)] == []


def test_every_option_that_is_named_exists():
    """Nothing is promised that argparse would refuse."""
    known = {option for command in _commands().values() for option in _options(command)}
    assert set(re.findall(r"`(--?[a-z][a-z-]*)`", _TEXT)) - known == set()


def test_every_exit_code_is_there():
    """With the name that ``--help`` gives it."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", _TEXT, re.MULTILINE)
    assert {(int(code), name) for code, name in rows} == {(code.value, code.name.lower()) for code in Exit}


def test_who_lacks_the_client_library_is_told_what_to_install():
    """A laptop with the local extra alone; nothing is said of modules and lines."""
    code = (
        "import sys; sys.modules['aiohttp'] = None; from graphsearch.cli.main import main;"
        "sys.exit(main(['status', 'x', '-n', 'y']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == Exit.USAGE
    assert done.stderr == "graphsearch: aiohttp is not installed; install graphsearch[operator]\n"


def test_as_a_plugin_of_kubectl_it_calls_itself_so(monkeypatch: pytest.MonkeyPatch):
    """What usage and messages show is what was typed."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/kubectl-graphsearch", "status"])
    assert parser().prog == "kubectl graphsearch"
