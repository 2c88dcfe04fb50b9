"""Arguments of the commands that see and steer searches, on a cluster or on this machine.

They stand apart from the commands so that the program can answer ``--help`` and Ctrl-C before it has imported any.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

RUNS = Path("graphsearch-runs")

RULE = (
    f"A path, or the name of a run that is here or below {RUNS}/, means this machine; any other name is looked for on "
    "the cluster of your kubeconfig. With -n, --context or --kubeconfig the cluster is always meant."
)

_STATES = {
    "pause": ("Paused", "have every trial save and stop; resume goes on from there"),
    "resume": ("Running", "go on with a paused search"),
    "finish": ("Finishing", "draw no new graphs, save and stop those that run, then compare; final"),
    "cancel": ("Cancelled", "save and stop everything; final"),
}

Commands = Any
"""What ``add_subparsers`` returns, whose class argparse does not export."""


def add_seeing(commands: Commands) -> None:
    """The commands that read: status, explain, logs, report, export."""
    status = commands.add_parser("status", help="how a search stands, or all on the cluster", epilog=RULE)
    status.add_argument("search", nargs="?", help="its folder or its name; without it all searches on the cluster")
    status.add_argument("-w", "--watch", action="store_true", help="show it until it has ended")
    _add_cluster(status)
    _add_output(status)
    status.add_argument("-A", "--all-namespaces", action="store_true", help="the searches of all namespaces")
    status.set_defaults(module="status", runs=RUNS)

    explain = commands.add_parser("explain", help="why a trial was stopped, failed or waits", epilog=RULE)
    explain.add_argument("trial", help="its name, SEARCH-tINDEX, or FOLDER/trials/INDEX")
    _add_cluster(explain)
    _add_output(explain)
    explain.set_defaults(module="explain", runs=RUNS)

    logs = commands.add_parser("logs", help="what the trainers of a search on the cluster say")
    logs.add_argument("search", help="its name")
    logs.add_argument("--trial", type=int, metavar="INDEX", help="only this trial, also if its pods are over")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the search has ended")
    _add_cluster(logs)
    _add_output(logs)
    logs.set_defaults(module="logs")

    _add_report(commands)
    _add_export(commands)


def add_steering(commands: Commands) -> None:
    """The commands that change something on the cluster: pause, resume, finish, cancel, purge."""
    for name, (wanted, text) in _STATES.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("search", help="its name on the cluster")
        command.add_argument("--wait", action="store_true", help="return when it shows in the search's conditions")
        _add_cluster(command)
        _add_output(command)
        command.set_defaults(module="steer", wanted=wanted)

    purge = commands.add_parser("purge", help="delete what a search on the cluster has left in its bucket")
    purge.add_argument("search", help="its name; it must have ended, or be gone from the cluster")
    purge.add_argument("--uri", help="its checkpoint.uri, where the search is gone from the cluster")
    purge.add_argument("--teachers", action="store_true", help="also the teachers, shared by the namespace's searches")
    purge.add_argument("-y", "--yes", action="store_true", help="do not ask")
    _add_cluster(purge)
    _add_bucket(purge)
    _add_output(purge)
    purge.set_defaults(module="purge")


def _add_report(commands: Commands) -> None:
    report = commands.add_parser(
        "report",
        help="fetch a search's report, or write it",
        epilog=f"{RULE} A report is copied out of its bucket with your own S3 credentials, as boto3 finds them.",
    )
    report.add_argument("search", help="its folder or its name; or the word build, with --facts and --store")
    report.add_argument(
        "--to",
        type=Path,
        dest="folder",
        help="a folder to put it into (default: NAME-report, on this machine the run's own)",
    )
    report.add_argument("--build", action="store_true", help="build it here, also if one is in the bucket")
    report.add_argument("--facts", type=Path, metavar="DIR", help="build: recorded facts, as the Report Job gets them")
    report.add_argument("--store", metavar="URI", help="build: the search's objects, where the report goes as well")
    _add_cluster(report)
    _add_bucket(report)
    _add_output(report)
    report.set_defaults(module="report", runs=RUNS)


def _add_export(commands: Commands) -> None:
    export = commands.add_parser(
        "export",
        help="turn a search into runs of TensorBoard or MLflow",
        epilog=f"{RULE} What the trials have left is read out of its bucket with your own S3 credentials.",
    )
    export.add_argument("search", help="its folder or its name")
    export.add_argument("--to", choices=("tensorboard", "mlflow"), required=True, help="the tracking tool")
    export.add_argument("--output", type=Path, help="tensorboard: the log folder (default: NAME-tensorboard)")
    export.add_argument("--tracking-uri", metavar="URI", help="mlflow: its server (default: $MLFLOW_TRACKING_URI)")
    _add_cluster(export)
    _add_bucket(export)
    export.set_defaults(module="export", runs=RUNS)


def _add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("-n", "--namespace", help="on the cluster (default: the context's)")
    command.add_argument("--context", help="of the kubeconfig (default: the current one)")
    command.add_argument("--kubeconfig", metavar="FILE", help="(default: $KUBECONFIG or ~/.kube/config)")


def _add_bucket(command: argparse.ArgumentParser) -> None:
    command.add_argument("--endpoint", default="", help="S3 server as reached from here (default: the manifest's)")
    command.add_argument("--region", default="", help="of the bucket (default: the manifest's)")
    command.add_argument("--path-style", action="store_true", help="the bucket stands in the path (default: as there)")


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="(default: table)")
