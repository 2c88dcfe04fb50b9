"""``graphsearch run``: a search on this machine, from its manifest to its report."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from graphsearch.api import DesiredState, GraphSearch, Reason, SearchFacts, check_new, read_manifest
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import folder_errors
from graphsearch.cli.live import display
from graphsearch.cli.report import write_report
from graphsearch.local import Folder, ForkServer, ForkServerError, Local, LocalWorld, StoppedError, this_machine
from graphsearch.search.settled import Settled, settle
from graphsearch.search.space import EmptySpaceError
from graphsearch.search.status import has_result

_CAUSES = {"interrupt": Exit.INTERRUPTED, "data": Exit.DATA, "storage": Exit.STORAGE}


def run(options: argparse.Namespace) -> Exit:
    """Run the search, or go on where an earlier run stopped; then write the report."""
    manifest = read_manifest(options.manifest)
    machine = this_machine()
    parallel = options.parallel or min(manifest.spec.budget.parallel_trials, machine.default_parallel())
    settled = settle(_with_parallel(_absolute(manifest, options.manifest), parallel))
    folder = Folder(options.output or options.runs / manifest.metadata.name)
    if not (folder.path / "search.json").exists():
        check_new(manifest, str(options.manifest))
    with folder_errors(), _unread(), folder:
        local = Local(threads=machine.threads(parallel), device=machine.device)
        facts, local = folder.open_search(_absolute(manifest, options.manifest), local)
        if facts.ended_at is not None:
            print(f"{folder.path}: this search has ended before; only its report is written again")
        elif manifest.spec.desired_state is DesiredState.PAUSED:
            print("desiredState is Paused: no trial runs until it is Running again; then the same command goes on")
        else:
            _search(folder, settled, local, plain=options.plain)
        page = write_report(folder)
        facts = folder.facts()
    print(f"report: {page}")
    return _verdict(settled, facts)


def _search(folder: Folder, settled: Settled, local: Local, *, plain: bool) -> None:
    machine = this_machine()
    started = time.monotonic()
    try:
        with (
            ForkServer(folder.path / "server.log") as server,
            display(plain=plain, where=str(folder.path)) as watch,
        ):
            world = LocalWorld(folder, settled, folder.ledger(), server, machine=machine, local=local, watch=watch)
            with _Interruptible(world):
                world.run()
    except StoppedError as stopped:
        seconds = time.monotonic() - started
        again = "the same command goes on from here"
        raise CommandError(
            _CAUSES[stopped.cause], f"{stopped} (after {seconds:.0f} s; all is saved, {again})"
        ) from None
    except ForkServerError as error:
        raise CommandError(Exit.TRAINER, f"{error}; the same command goes on from here") from None
    except EmptySpaceError as error:
        raise CommandError(Exit.USAGE, str(error)) from None


@contextmanager
def _unread() -> Iterator[None]:
    """Where nobody reads its output any more, as after ``| head``, the search has stopped before its end."""
    try:
        yield
    except BrokenPipeError:
        message = "nobody reads what it says any more; all is saved, the same command goes on from here"
        raise CommandError(Exit.INTERRUPTED, message) from None


class _Interruptible:
    """Ctrl-C and SIGTERM have every trial save and stop; a second one ends at once."""

    def __init__(self, world: LocalWorld) -> None:
        self._world = world
        self._asked = False

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._world.interrupt()


def _with_parallel(manifest: GraphSearch, parallel: int) -> GraphSearch:
    budget = manifest.spec.budget.model_copy(update={"parallel_trials": parallel})
    return manifest.model_copy(update={"spec": manifest.spec.model_copy(update={"budget": budget})})


def _absolute(manifest: GraphSearch, path: Path) -> GraphSearch:
    """A relative data path is meant from the manifest's folder, wherever the command is called."""
    uri = manifest.spec.data.uri
    if not uri or "://" in uri or uri.startswith(("~", "/")):
        return manifest
    data = manifest.spec.data.model_copy(update={"uri": str((path.absolute().parent / uri).resolve())})
    return manifest.model_copy(update={"spec": manifest.spec.model_copy(update={"data": data})})


def _verdict(settled: Settled, facts: SearchFacts) -> Exit:
    if facts.reason in (Reason.COMPLETED, None):
        return Exit.OK
    print(f"{facts.reason}: {facts.message}" if facts.message else facts.reason)
    return Exit.OK if has_result(settled, facts) else Exit.NO_RESULT
