"""The client against a real API server."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import yaml

from graphsearch.cluster.client import (
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    Client,
    ClusterConfigError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from graphsearch.controller.events import Recorder


def config_map(namespace, name, **data):
    """A small object."""
    metadata = {"name": name, "namespace": namespace, "labels": {"of": "client"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def talk(control_plane, story, *, kubeconfig=None, **options):
    """Run a coroutine function with a client."""

    async def run():
        path = str(kubeconfig or control_plane.kubeconfig)
        async with Client.connect(path, **options) as client:
            return await story(client)

    return asyncio.run(run())


def test_an_object_is_made_read_changed_and_deleted(control_plane, namespace):
    """The answers are the objects as they stand then."""

    async def story(client):
        made = await client.create(config_map(namespace, "one", a="1"))
        read = await client.get(CONFIG_MAPS, namespace, "one")
        patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": None, "b": "2"}}
        changed = await client.patch(CONFIG_MAPS, namespace, "one", patch)
        await client.delete(CONFIG_MAPS, namespace, "one", uid=made["metadata"]["uid"])
        with pytest.raises(NotFoundError):
            await client.get(CONFIG_MAPS, namespace, "one")
        return made, read, changed

    made, read, changed = talk(control_plane, story)
    assert read == made
    assert changed["data"] == {"b": "2"}


def test_a_list_comes_in_pages_and_every_item_says_what_it_is(control_plane, namespace):
    """Lists longer than a page are whole, and can be read page by page."""

    async def story(client):
        for number in range(7):
            await client.create(config_map(namespace, f"map-{number}"))
        listed, version = await client.list(CONFIG_MAPS, namespace, labels="of=client", limit=3)
        pages = [len(page) async for page in client.pages(CONFIG_MAPS, namespace, labels="of=client", limit=3)]
        named, _ = await client.list(CONFIG_MAPS, namespace, fields="metadata.name=map-3")
        everywhere, _ = await client.list(CONFIG_MAPS, None, labels="of=client")
        none, _ = await client.list(CONFIG_MAPS, namespace, labels="of!=client,of")
        return listed, version, pages, named, everywhere, none

    listed, version, pages, named, everywhere, none = talk(control_plane, story)
    assert [item["metadata"]["name"] for item in listed] == [f"map-{number}" for number in range(7)]
    assert {(item["apiVersion"], item["kind"]) for item in listed} == {("v1", "ConfigMap")}
    assert int(version) > 0
    assert pages == [3, 3, 1]
    assert [item["metadata"]["name"] for item in named] == ["map-3"]
    assert len(everywhere) >= 7
    assert none == []


def test_applying_twice_is_applying_once_and_gives_up_what_is_left_out(control_plane, namespace):
    """Server-side apply under the operator's name."""

    async def story(client):
        first = await client.apply(config_map(namespace, "one", a="1", b="2"))
        second = await client.apply(config_map(namespace, "one", a="1", b="2"))
        third = await client.apply(config_map(namespace, "one", a="1"))
        return first, second, third

    first, second, third = talk(control_plane, story)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert third["data"] == {"a": "1"}
    assert third["metadata"]["uid"] == first["metadata"]["uid"]


def test_a_name_that_is_taken_and_a_version_that_is_old_are_conflicts(control_plane, namespace):
    """Two writers cannot both win."""

    async def story(client):
        made = await client.create(config_map(namespace, "one"))
        with pytest.raises(ConflictError) as taken:
            await client.create(config_map(namespace, "one"))
        patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "1"}}
        await client.patch(CONFIG_MAPS, namespace, "one", patch)
        with pytest.raises(ConflictError) as stale:
            await client.patch(CONFIG_MAPS, namespace, "one", patch | {"data": {"a": "2"}})
        return taken.value.reason, stale.value.reason

    assert talk(control_plane, story) == ("AlreadyExists", "Conflict")


def test_a_field_that_does_not_exist_is_refused_by_name(control_plane, namespace):
    """A slip in what is written is an error, never dropped in silence."""

    async def story(client):
        with pytest.raises(InvalidError, match="backofLimit"):
            await client.create(
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "metadata": {"name": "slip", "namespace": namespace},
                    "spec": {"backofLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": []}}},
                }
            )
        await client.create(config_map(namespace, "one"))
        with pytest.raises(InvalidError, match="dato"):
            await client.patch(CONFIG_MAPS, namespace, "one", {"dato": {}})

    talk(control_plane, story)


def test_deleting_what_is_gone_or_replaced_is_success(control_plane, namespace):
    """The uid is a precondition: an object that has taken the name since is left alone."""

    async def story(client):
        await client.delete(CONFIG_MAPS, namespace, "never-was")
        await client.create(config_map(namespace, "one"))
        await client.delete(CONFIG_MAPS, namespace, "one", uid="00000000-0000-0000-0000-000000000000")
        return await client.get(CONFIG_MAPS, namespace, "one")

    assert talk(control_plane, story)["metadata"]["name"] == "one"


def test_an_account_without_rights_is_told_so(control_plane, namespace):
    """The message names what was asked for."""
    kubeconfig = control_plane.kubeconfig_for(f"system:serviceaccount:{namespace}:default", namespace=namespace)

    async def story(client):
        with pytest.raises(ForbiddenError, match="cannot list resource"):
            await client.list(PODS, namespace)
        return client.namespace

    assert talk(control_plane, story, kubeconfig=kubeconfig) == namespace


def test_a_token_that_is_not_accepted_any_more_is_read_again(control_plane, namespace, tmp_path):
    """Short-lived tokens are replaced in their file while the process lives."""
    kubeconfig = tmp_path / "kubeconfig"
    good = control_plane.kubeconfig.read_text()
    bad = yaml.safe_load(good)
    bad["users"][0]["user"]["token"] = "expired"
    kubeconfig.write_text(yaml.safe_dump(bad))

    async def story(client):
        with pytest.raises(ForbiddenError, match="401"):
            await client.get(NAMESPACES, None, namespace)
        kubeconfig.write_text(good)
        found = await asyncio.gather(*(client.get(NAMESPACES, None, namespace) for _ in range(5)))
        return {each["metadata"]["name"] for each in found}

    assert talk(control_plane, story, kubeconfig=kubeconfig) == {namespace}


def test_a_guard_stands_before_every_write_and_no_read(control_plane, namespace):
    """Who may not write any more may still look."""

    class LostError(Exception):
        pass

    def refuse():
        raise LostError

    async def story(client):
        await client.create(config_map(namespace, "one"))
        guarded = client.guarded(refuse)
        writes = [
            guarded.create(config_map(namespace, "two")),
            guarded.apply(config_map(namespace, "one")),
            guarded.patch(CONFIG_MAPS, namespace, "one", {"data": {"a": "1"}}),
            guarded.delete(CONFIG_MAPS, namespace, "one"),
        ]
        for write in writes:
            with pytest.raises(LostError):
                await write
        listed, _ = await guarded.list(CONFIG_MAPS, namespace, labels="of=client")
        return listed

    (only,) = talk(control_plane, story)
    assert only["metadata"]["name"] == "one"
    assert "data" not in only


def test_every_request_is_told_of(control_plane, namespace):
    """With its verb, kind and status, also where it fails."""
    told = Counter()

    async def story(client):
        await client.create(config_map(namespace, "one"))
        with pytest.raises(NotFoundError):
            await client.get(JOBS, namespace, "none")

    talk(control_plane, story, observer=lambda *request: told.update([request]))
    assert told == {("POST", "configmaps", 201): 1, ("GET", "jobs", 404): 1}


def test_an_api_server_that_is_gone_is_unavailable_until_it_is_back(control_plane, namespace):
    """One client lives through a restart of the API server."""

    async def story(client):
        await client.get(NAMESPACES, None, namespace)
        control_plane.stop_api_server()
        try:
            with pytest.raises(UnavailableError, match="no answer"):
                await client.get(NAMESPACES, None, namespace)
        finally:
            control_plane.start_api_server()
        return await client.get(NAMESPACES, None, namespace)

    assert talk(control_plane, story)["metadata"]["name"] == namespace


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "a: [", "current-context: it\ncontexts: []\n"])
def test_a_kubeconfig_that_leads_nowhere_is_named(tmp_path, content):
    """Missing, empty or broken: the message names the file."""
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)

    async def story():
        async with Client.connect(str(path)):
            pass

    with pytest.raises(ClusterConfigError, match=str(path)):
        asyncio.run(story())


def test_equal_transitions_are_one_event_that_is_counted_up(control_plane, namespace):
    """Also across processes, which each have a recorder of their own."""

    async def story(client):
        obj = await client.create(config_map(namespace, "one"))
        for time in (1_800_000_000.0, 1_800_000_060.0, 1_800_000_120.0):
            recorder = Recorder(client, clock=lambda now=time: now)
            await recorder.event(obj, "Warning", "Paused", "three attempts in a row could not start")
        await Recorder(client).event(obj, "Normal", "Searching", "x" * 5000)
        found, _ = await client.list(EVENTS, namespace, fields=f"involvedObject.uid={obj['metadata']['uid']}")
        return found

    found = {event["reason"]: event for event in talk(control_plane, story)}
    paused = found["Paused"]
    assert set(found) == {"Paused", "Searching"}
    assert (paused["count"], paused["firstTimestamp"]) == (3, "2027-01-15T08:00:00Z")
    assert paused["lastTimestamp"] == "2027-01-15T08:02:00Z"
    assert len(found["Searching"]["message"]) == 1024


def test_an_event_that_cannot_be_written_is_only_logged(control_plane, namespace, caplog):
    """Nothing depends on Events: a missing right must not stop a search."""
    kubeconfig = control_plane.kubeconfig_for(f"system:serviceaccount:{namespace}:default")
    obj = config_map(namespace, "one") | {"metadata": {"name": "one", "namespace": namespace, "uid": "u"}}

    async def story(client):
        await Recorder(client).event(obj, "Normal", "Searching", "begun")

    talk(control_plane, story, kubeconfig=kubeconfig)
    assert "Event Searching of one cannot be written" in caplog.text
