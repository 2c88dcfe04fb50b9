"""Which world an argument means, and what is wrong with a folder as an exit code.

One rule for all commands that know both worlds: a path, or the name of a run that is there, means this machine, unless
an option about the cluster is given; everything else is a name on the cluster.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphsearch.cli.exits import CommandError, Exit, is_of_output
from graphsearch.local import ChangedManifestError, Folder, LockedError, NotARunError
from graphtrial.storage import StorageError, Unreachable

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
"""Of objects on a cluster; anything else can only be a path."""
_TRIAL = re.compile(r"(?P<search>.+)(-t|/trials/)(?P<index>\d+)/?")


def is_cluster_named(options: argparse.Namespace) -> bool:
    """Whether an option says that the cluster is meant, whatever lies in a folder."""
    return any(getattr(options, name, None) for name in ("namespace", "context", "kubeconfig", "all_namespaces"))


def folder_meant(argument: str, options: argparse.Namespace) -> Folder | None:
    """The folder that an argument means: a run here or below ``options.runs``; None for a name on the cluster."""
    if is_cluster_named(options):
        return None
    for path in (Path(argument), options.runs / argument):
        if (path / "search.json").exists():
            return Folder(path)
    return None if _NAME.fullmatch(argument) else Folder(Path(argument))


def not_here(options: argparse.Namespace) -> str:
    """The first half of a message that nothing was found, where this machine was looked at first; else empty."""
    name = getattr(options, "search", None) or getattr(options, "trial", None)
    looked = hasattr(options, "runs") and name and not is_cluster_named(options)
    return f"no run {name} here or below {options.runs}/, and " if looked else ""


def trial_meant(argument: str, options: argparse.Namespace) -> tuple[Folder, int] | None:
    """Folder and index that ``NAME-tINDEX`` or ``FOLDER/trials/INDEX`` means; None for a trial on the cluster."""
    found = _TRIAL.fullmatch(argument)
    folder = folder_meant(found["search"], options) if found else None
    if found and folder:
        return folder, int(found["index"])
    search = folder_meant(argument, options)
    is_search = search is not None and (search.path / "search.json").exists()
    if not is_search and (is_cluster_named(options) or _NAME.fullmatch(argument)):
        return None
    what = "is a search, and no trial" if is_search else "no trial"
    raise CommandError(Exit.USAGE, f"{argument}: {what}; name it as SEARCH-tINDEX or FOLDER/trials/INDEX")


@contextmanager
def folder_errors() -> Iterator[None]:
    """Errors of a folder or a bucket as messages with their exit code."""
    try:
        yield
    except (LockedError, ChangedManifestError, NotARunError) as error:
        raise CommandError(Exit.FOLDER, str(error)) from None
    except Unreachable as error:
        raise CommandError(Exit.STORAGE, f"{error}; --endpoint gives its address as it is reached from here") from None
    except StorageError as error:
        raise CommandError(Exit.STORAGE, str(error)) from None
    except OSError as error:
        if is_of_output(error):
            raise
        raise CommandError(Exit.STORAGE, f"{error.filename or 'the folder'}: {error.strerror}") from None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an error of writing to it: the system names only what cannot be opened."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from None
