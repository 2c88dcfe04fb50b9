"""What is known of a search's Jobs and pods follows what is heard of them, and a list corrects what was not heard."""

from __future__ import annotations

import asyncio
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphsearch.api import names as n
from graphsearch.api import timestamp
from graphsearch.cluster.children import Children
from graphsearch.cluster.client import EVENTS, JOBS, PODS

NOW = 1_800_000_000.0


class Server:
    """Objects as the API server keeps them; ``asked`` tells which lists were asked for."""

    def __init__(self):
        self.kept = {JOBS.kind: {}, PODS.kind: {}, EVENTS.kind: {}}
        self.version = 0
        self.asked = []
        self.while_listing = lambda: None

    def put(self, obj):
        """Keep a state of an object; what a watch would say."""
        self.version += 1
        obj = {"apiVersion": "v1"} | copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.kept[obj["kind"]][obj["metadata"]["uid"]] = obj
        return obj["kind"], "MODIFIED", copy.deepcopy(obj)

    def delete(self, obj):
        """Take an object away; what a watch would say."""
        self.version += 1
        gone = copy.deepcopy(self.kept[obj["kind"]].pop(obj["metadata"]["uid"]))
        gone["metadata"]["resourceVersion"] = str(self.version)
        return obj["kind"], "DELETED", gone

    async def list(self, kind, namespace, *, labels="", fields="", limit=500, keep=copy.deepcopy):
        self.asked.append(fields or kind.plural)
        found, version = [keep(copy.deepcopy(obj)) for obj in self.kept[kind.kind].values()], str(self.version)
        self.while_listing()
        return found, version


def a_job(index=1, **spec):
    """The Job of a trial's first attempt, made at NOW."""
    metadata = {"name": f"s-t{index}-a1", "uid": f"job-{index}", "creationTimestamp": timestamp(NOW), "labels": {}}
    return {"kind": "Job", "metadata": metadata, "spec": spec, "status": {}}


def a_pod(index=1, state=None, number=1):
    """A pod of that Job."""
    labels = {n.TRIAL_LABEL: f"s-t{index}", n.ATTEMPT_LABEL: "1"}
    metadata = {"name": f"s-t{index}-a1-{number}", "uid": f"pod-{index}-{number}", "labels": labels}
    return {"kind": "Pod", "metadata": metadata, "spec": {}, "status": state or {}}


RUNNING = {"containerStatuses": [{"name": "trainer", "state": {"running": {"startedAt": timestamp(NOW)}}}]}


def children_of(server, *heard):
    """A search's children that were listed at NOW, and of which then this was heard."""
    children = Children(server, "team", "search-uid")
    asyncio.run(children.refresh(NOW))
    for event in heard:
        children.hear(*event)
    return children


def known(children):
    """What is there: (uid, version) of each Job and pod."""
    pods = [pod for index in range(10) for pod in children.pods(f"s-t{index}-a1") if not pod.get("gone")]
    there = [*children.jobs.values(), *pods]
    return {(obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]) for obj in there}


def test_what_is_heard_needs_no_list():
    """A Job and its pod are known, and only their Job has moved."""
    server = Server()
    children = children_of(server, server.put(a_job()), server.put(a_pod(state=RUNNING)))
    server.asked.clear()
    assert asyncio.run(children.refresh(NOW + 1)) == {"s-t1-a1"}
    assert (server.asked, known(children)) == ([], {("job-1", "1"), ("pod-1-1", "2")})
    assert asyncio.run(children.refresh(NOW + 2)) == set()


def test_older_news_change_nothing():
    """Events and answers to own writes may overtake one another."""
    server = Server()
    first, second = server.put(a_job()), server.put(a_job(suspend=True))
    children = children_of(server, second, first)
    assert children.jobs["s-t1-a1"]["spec"] == {"suspend": True}


def test_a_deleted_pods_last_words_are_kept_while_its_attempt_is_open():
    """Nothing else tells its exit code."""
    server = Server()
    ended = {"containerStatuses": [{"name": "trainer", "state": {"terminated": {"exitCode": 143}}}]}
    made = server.put(a_pod(state=ended))
    children = children_of(server, made, server.delete(a_pod()))
    asyncio.run(children.refresh(NOW + 60))
    children.forget_gone({"s-t1-a1"})
    [pod] = children.pods("s-t1-a1")
    assert (pod["gone"], pod["status"]) == (True, ended)
    children.forget_gone(set())
    assert children.pods("s-t1-a1") == []


def test_a_job_that_was_just_made_outlives_a_list_that_is_older():
    """The list was asked for before it was made."""
    server = Server()
    children = children_of(server)
    made = server.put(a_job())[2]
    server.kept["Job"].clear()
    server.version -= 1
    children.expect(made)
    asyncio.run(children.refresh(NOW + 60))
    assert list(children.jobs) == ["s-t1-a1"]


def test_a_list_does_not_bring_back_what_was_deleted_while_it_travelled():
    """What is heard meanwhile is newer."""
    server = Server()
    children = children_of(server, server.put(a_job()))
    server.while_listing = lambda: server.kept["Job"] and children.hear(*server.delete(a_job()))
    asyncio.run(children.refresh(NOW + 60))
    assert children.jobs == {}


def test_a_deletion_that_was_not_heard_shows_in_the_next_list():
    """The Job is gone, its pod's last state is kept as such, and the Job has moved."""
    server = Server()
    children = children_of(server, server.put(a_job()), server.put(a_pod(state=RUNNING)))
    asyncio.run(children.refresh(NOW + 1))
    server.delete(a_job())
    server.delete(a_pod())
    assert asyncio.run(children.refresh(NOW + 60)) == {"s-t1-a1"}
    assert (children.jobs, [pod["gone"] for pod in children.pods("s-t1-a1")]) == ({}, [True])


def test_a_list_that_failed_half_way_is_asked_for_again_at_the_next_look():
    """Jobs without their pods would tell of ends without last words."""
    server = Server()
    server.put(a_job())
    server.put(a_pod())

    def break_off():
        if server.asked[-1] == PODS.plural:
            raise TimeoutError

    server.while_listing = break_off
    children = Children(server, "here", "s")
    with pytest.raises(TimeoutError):
        asyncio.run(children.refresh(NOW))
    server.while_listing = lambda: None
    asyncio.run(children.refresh(NOW + 0.5))
    assert server.asked == [JOBS.plural, PODS.plural] * 2


def test_what_should_move_and_is_not_heard_of_is_listed_soon():
    """A Job without a pod after five seconds; one that runs only after thirty."""
    server = Server()
    children = children_of(server, server.put(a_job()))
    asyncio.run(children.refresh(NOW + 1))
    server.asked.clear()
    asyncio.run(children.refresh(NOW + 4.5))
    assert server.asked == []
    asyncio.run(children.refresh(NOW + 5))
    assert server.asked == ["jobs", "pods"]
    children.hear(*server.put(a_pod(state=RUNNING)))
    asyncio.run(children.refresh(NOW + 6))
    server.asked.clear()
    asyncio.run(children.refresh(NOW + 34))
    assert server.asked == []
    asyncio.run(children.refresh(NOW + 36))
    assert server.asked == ["jobs", "pods"]


def test_why_many_jobs_wait_is_one_question():
    """Each is told what was announced of itself; none is asked for before it has had two seconds."""
    server = Server()
    children = children_of(server, *(server.put(a_job(index)) for index in range(5)))
    said = {"kind": "Event", "metadata": {"name": "e", "uid": "e"}, "reason": "FailedCreate", "message": "quota"}
    server.put(said | {"involvedObject": {"kind": "Job", "name": "s-t3-a1", "uid": "job-3"}})
    server.asked.clear()
    assert not asyncio.run(children.ask_why(NOW + 1))
    assert server.asked == []
    assert asyncio.run(children.ask_why(NOW + 3))
    assert not asyncio.run(children.ask_why(NOW + 4))
    assert server.asked == ["involvedObject.kind=Job,type=Warning"]
    assert [event["message"] for event in children.announced["s-t3-a1"]] == ["quota"]
    assert "s-t1-a1" not in children.announced
    assert not asyncio.run(children.ask_why(NOW + 6)), "the same again is no news"


def test_what_kueue_says_of_a_workload_is_told_of_its_job():
    """It is named after the Job."""
    server = Server()
    children = children_of(server, server.put(a_job(suspend=True)))
    said = {"kind": "Event", "metadata": {"name": "e", "uid": "e"}, "reason": "Pending", "message": "no quota"}
    server.put(said | {"involvedObject": {"kind": "Workload", "name": "job-s-t1-a1-4f2e", "uid": "w"}})
    asyncio.run(children.ask_why(NOW + 3))
    assert [event["message"] for event in children.announced["s-t1-a1"]] == ["no quota"]


def test_a_job_that_kueue_let_go_still_waits_for_its_pod():
    """It keeps the condition Suspended, which is False then: what refuses its pod is asked for."""
    server, admitted = Server(), a_job(suspend=False)
    admitted["status"] = {"conditions": [{"type": "Suspended", "status": "False"}]}
    children = children_of(server, server.put(admitted))
    said = {"kind": "Event", "metadata": {"name": "e", "uid": "e"}, "reason": "FailedCreate", "message": "forbidden"}
    server.put(said | {"involvedObject": {"kind": "Job", "uid": "job-1"}})
    assert asyncio.run(children.ask_why(NOW + 3))
    assert [event["message"] for event in children.announced["s-t1-a1"]] == ["forbidden"]
    over = a_job(2)
    over["status"] = {"conditions": [{"type": "FailureTarget", "status": "True"}]}
    server = Server()
    assert not asyncio.run(children_of(server, server.put(over)).ask_why(NOW + 3))
    assert server.asked == ["jobs", "pods"]


def test_a_pod_whose_job_is_gone_is_told_to_end_all_the_same():
    """As one that was left behind by ``kubectl delete job --cascade=orphan``."""
    told = []

    class Deleting(Server):
        async def delete(self, kind, namespace, name, *, uid):
            told.append((kind, namespace, name, uid))

    server = Deleting()
    children = children_of(server, server.put(a_pod(state=RUNNING)))
    asyncio.run(children.delete("s-t1-a1"))
    asyncio.run(children.delete_all())
    assert told == [(PODS, "team", "s-t1-a1-1", "pod-1-1")] * 2


STEPS = st.tuples(
    st.integers(0, 3), st.sampled_from(["job", "pod", "no job", "no pod", "list"]), st.booleans(), st.booleans()
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_was_not_heard_a_list_makes_good(steps):
    """Events are lost or come late, in their order for each object; after a list what is known is what is there."""
    server, late = Server(), []
    children = children_of(server)
    for index, what, is_heard, is_late in steps:
        event = None
        match what:
            case "job":
                event = server.put(a_job(index))
            case "pod":
                event = server.put(a_pod(index, RUNNING))
            case "no job" if f"job-{index}" in server.kept["Job"]:
                event = server.delete(a_job(index))
            case "no pod" if f"pod-{index}-1" in server.kept["Pod"]:
                event = server.delete(a_pod(index))
            case "list":
                asyncio.run(children.refresh(NOW + 1000))
        if event and is_late:
            late.append(event)
        elif event and is_heard and not late:
            children.hear(*event)
    for event in late:
        children.hear(*event)
    asyncio.run(children.refresh(NOW + 2000))
    there = [obj for kind in ("Job", "Pod") for obj in server.kept[kind].values()]
    assert known(children) == {(obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]) for obj in there}
