"""What an installation decides, from flags and environment."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from graphsearch.controller.settings import Settings, SettingsError, add_flags, own_identity, read


def parsed(*flags):
    """What argparse makes of flags."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return vars(parser.parse_args(flags))


def test_nothing_given_is_the_whole_cluster_without_prometheus():
    """Every setting has a default."""
    assert read(parsed(), {}) == Settings()


def test_flags_and_environment_give_typed_values(tmp_path):
    """Each setting can be given either way, and is of its field's type."""
    token = tmp_path / "token"
    token.write_text("secret")
    flags = ["--namespaces", "red, blue,red", "--probe-port=9090", "--scrape-annotations", "--scrape-interval=2.5"]
    environment = {"GRAPHSEARCH_PROMETHEUS_URL": "http://p:9090/", "GRAPHSEARCH_PROMETHEUS_TOKEN_FILE": str(token)}

    found = read(parsed(*flags), environment)

    assert found == Settings(
        namespaces=("red", "blue"),
        probe_port=9090,
        scrape_annotations=True,
        scrape_interval=2.5,
        prometheus_url="http://p:9090",
        prometheus_token_file=str(token),
    )


def test_a_flag_wins_over_the_environment():
    """What stands on the command line was meant."""
    found = read(parsed("--controller-name", "mine"), {"GRAPHSEARCH_CONTROLLER_NAME": "theirs"})

    assert found.controller_name == "mine"
    assert found.lease_name == "graphsearch-mine"
    assert Settings().lease_name == "graphsearch-default"


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (["--probe-port=0"], {}, r"--probe-port: must be a port from 1 to 65535 \(given: 0\)"),
        (["--scrape-interval=soon"], {}, r"--scrape-interval: must be a number of seconds .* \(given: soon\)"),
        (["--fallback-after=nan"], {}, r"--fallback-after: must be a number of seconds from 0.1 to 3600"),
        (["--namespaces=Red"], {}, r"--namespaces: must be lower-case letters, digits and dashes"),
        (["--prometheus-url=prometheus:9090"], {}, r"--prometheus-url: must be an address such as http://"),
        (["--prometheus-ca-file=/nowhere/ca.crt"], {}, r"--prometheus-ca-file: must be a file that is there"),
        (["--trainer-pull-policy=Sometimes"], {}, r"--trainer-pull-policy: must be one of Always, IfNotPresent, Never"),
        (["--scrape-annotations=yes"], {}, r"--scrape-annotations: must be true or false \(given: yes\)"),
        ([], {"GRAPHSEARCH_PROBE_PORT": "http"}, r"GRAPHSEARCH_PROBE_PORT: must be a port"),
    ],
)
def test_a_bad_value_is_refused_with_its_flag(flags, environment, message):
    """One message names what was given and says what would be right."""
    with pytest.raises(SettingsError, match=message):
        read(parsed(*flags), environment)


def test_credentials_of_prometheus_are_whole_and_of_one_kind(tmp_path):
    """A user name without a password, or beside a token, is a mistake."""
    secret = tmp_path / "secret"
    secret.touch()
    with pytest.raises(SettingsError, match="give both or none"):
        read(parsed(f"--prometheus-username-file={secret}"), {})
    files = [f"--prometheus-{kind}-file={secret}" for kind in ("username", "password", "token")]
    with pytest.raises(SettingsError, match="give one of them"):
        read(parsed(*files), {})


def test_every_setting_has_a_flag_with_help():
    """The table of flags is the dataclass."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    helped = {action.dest for action in parser._actions if action.help and action.dest != "help"}

    assert helped == {field.name for field in fields(Settings)}


def test_no_two_processes_have_the_same_identity_by_default():
    """The Lease tells them apart by it."""
    assert own_identity() != own_identity()
