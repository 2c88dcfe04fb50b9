"""``graphsearch operator``: runs all searches of a cluster, or of some of its namespaces."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
from collections.abc import Coroutine

from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cluster.client import ApiError, ClusterConfigError
from graphsearch.controller.assembly import worlds_of
from graphsearch.controller.lease import LeaseLostError
from graphsearch.controller.process import DeadPartError
from graphsearch.controller.process import run as run_process
from graphsearch.controller.settings import SettingsError, read


def run(options: argparse.Namespace) -> Exit:
    """Run until SIGTERM; a part that has ended, or a Lease that is lost, ends it with a message."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read(vars(options), os.environ)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    _spare_what_is_imported()
    return ended_well(run_process(settings, worlds_of(settings)))


def _spare_what_is_imported() -> None:
    """Have the garbage collector leave the million objects of imported modules alone.

    It looks at all objects only when their number has grown by a quarter, so that with those counted in, tens of MiB
    of garbage would lie about between two looks.
    """
    gc.collect()
    gc.freeze()
    gc.collect()


def ended_well(process: Coroutine[None, None, None]) -> Exit:
    """Run the process to its end.

    Raises:
        CommandError: If that was not asked for.
    """
    try:
        asyncio.run(process)
    except (ClusterConfigError, ApiError) as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from None
    except (DeadPartError, LeaseLostError, OSError) as error:
        raise CommandError(Exit.INTERNAL, str(error)) from None
    return Exit.OK
