"""What whoever installs the operator decides, as flags and as environment variables ``GRAPHSEARCH_<FLAG>``.

A flag wins over its variable. It must import nothing that takes time: ``graphsearch --help`` reads it.
Decided against: a configuration file (the chart's values become flags, and a change of flags restarts the pod), and
settings for what nobody has to choose, such as intervals of the lease.
"""

from __future__ import annotations

import argparse
import re
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

_PREFIX = "GRAPHSEARCH_"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


class SettingsError(Exception):
    """A setting is wrong; the message names its flag and says what would be right."""


def _text(text: str) -> str:
    return text.strip()


def _name(text: str) -> str:
    if text and not _NAME.fullmatch(text):
        raise ValueError("must be lower-case letters, digits and dashes, at most 63")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(part.strip()) for part in text.split(",") if part.strip()))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise ValueError("must be a number of seconds from 0.1 to 3600")
    return seconds


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return int(text)


def _url(text: str) -> str:
    if text and not re.match(r"https?://[^/\s]+", text):
        raise ValueError("must be an address such as http://prometheus.monitoring:9090")
    return text.rstrip("/")


def _file(text: str) -> str:
    if text and not Path(text).is_file():
        raise ValueError("must be a file that is there")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return text.lower() == "true"


def _policy(text: str) -> str:
    if text not in _PULL_POLICIES:
        raise ValueError(f"must be one of {', '.join(_PULL_POLICIES)}")
    return text


def _setting(default: Any, parse: Callable[[str], Any], help: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help})


@dataclass(frozen=True)
class Settings:
    """Of one operator process."""

    kubeconfig: str = _setting("", _file, "where the cluster is, outside of one")
    """A file. Empty: $KUBECONFIG, then the pod's service account, then ~/.kube/config."""
    namespaces: tuple[str, ...] = _setting((), _names, "namespaces to watch, with commas; none: the whole cluster")
    """Searches elsewhere are not seen. With none, the account needs its rights in the whole cluster."""
    controller_name: str = _setting("", _name, "run only searches whose spec.controllerName is this")
    """Names the Lease as well, so that several installs work beside one another."""
    lease_namespace: str = _setting("", _name, "where the Lease lies")
    """Operators that watch the same namespaces must have the same one. Empty: the operator's own namespace."""
    identity: str = _setting("", _text, "of this process in the Lease")
    """No two processes that run at the same time may have the same. One that is started again with the identity of
    the one that died need not wait until the Lease expires. Empty: the host's name and a random part."""
    probe_port: int = _setting(8080, _port, "of /healthz, /readyz and /metrics (default: 8080)")
    """On all addresses of the pod."""
    prometheus_url: str = _setting("", _url, "where scores are asked for; none: the pods themselves are read")
    """Without it a search that asks for Prometheus is read directly, if its fallback allows that."""
    prometheus_token_file: str = _setting("", _file, "a bearer token for Prometheus")
    """Read again when it changes."""
    prometheus_username_file: str = _setting("", _file, "a user name for Prometheus")
    """With prometheus_password_file, and instead of a token."""
    prometheus_password_file: str = _setting("", _file, "a password for Prometheus")
    """With prometheus_username_file."""
    prometheus_ca_file: str = _setting("", _file, "whom to trust as Prometheus; none: the system's authorities")
    """Certificates in PEM."""
    scrape_interval: float = _setting(5.0, _seconds, "seconds between two scrapes of a trainer (default: 5)")
    """Seconds; must be what Prometheus really does. Scores are looked for in a window of two of them."""
    fallback_after: float = _setting(15.0, _seconds, "seconds without an answer of Prometheus (default: 15)")
    """Seconds; after that many the pods are read directly. Less than three scrapes makes that the rule."""
    trainer_image: str = _setting("", _text, "of trials whose search names none")
    """Without one, a search that names none is not accepted."""
    trainer_pull_policy: str = _setting("IfNotPresent", _policy, "Always, IfNotPresent or Never")
    """When nodes pull the trainer's image."""
    scrape_annotations: bool = _setting(False, _switch, "have trainers' pods ask for being scraped (true or false)")
    """Puts ``prometheus.io/scrape`` and the like on trainers' pods; with a PodMonitor they would be scraped twice."""

    def __post_init__(self) -> None:
        if bool(self.prometheus_username_file) != bool(self.prometheus_password_file):
            raise SettingsError("--prometheus-username-file and --prometheus-password-file: give both or none")
        if self.prometheus_token_file and self.prometheus_username_file:
            raise SettingsError("--prometheus-token-file and --prometheus-username-file: give one of them")

    @property
    def lease_name(self) -> str:
        """Of the Lease; the chart makes one of this name."""
        return f"graphsearch-{self.controller_name or 'default'}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per setting; a switch may stand without a value."""
    for each in fields(Settings):
        value: dict[str, Any] = {"nargs": "?", "const": "true"} if isinstance(each.default, bool) else {}
        metavar = each.name.rsplit("_", 1)[-1].upper()
        parser.add_argument(_flag(each), metavar=metavar, help=each.metadata["help"], **value)


def read(options: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings, from flags and environment.

    Args:
        options: Parsed flags by the name of their setting; None where a flag was not given.
        environment: Variables.

    Raises:
        SettingsError: Naming the flag of a value that is wrong.
    """
    found: dict[str, Any] = {}
    for each in fields(Settings):
        variable = _PREFIX + each.name.upper()
        text = options.get(each.name)
        where = _flag(each) if text is not None else variable
        text = text if text is not None else environment.get(variable)
        if text is None:
            continue
        try:
            found[each.name] = each.metadata["parse"](text)
        except ValueError as error:
            raise SettingsError(f"{where}: {error} (given: {text})") from None
    return Settings(**found)


def own_identity() -> str:
    """Of a process that was given none."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}"


def _flag(each: Field[Any]) -> str:
    return "--" + each.name.replace("_", "-")
