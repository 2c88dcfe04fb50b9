"""What searches have left in a real bucket: reports and what purge deletes."""

from __future__ import annotations

import json

import pytest
from e2e.cluster.object_store import BUCKET
from tests.integration.cluster.recorded_search import played, record
from tests.searches import HandPlayed, a_search

from graphsearch.cli.exits import Exit
from graphtrial.storage import open_store


@pytest.fixture
def bucket(s3_endpoint, s3_client, s3_credentials):
    """``checkpoint`` of a manifest that saves in the bucket."""
    return {"uri": f"s3://{BUCKET}/cli", "endpoint": s3_endpoint, "region": "us-east-1", "pathStyle": True}


def store_of(bucket, uri):
    """The store below a URI in it."""
    return open_store(uri, endpoint=bucket["endpoint"], region=bucket["region"], path_style=True)


def test_a_report_is_built_where_none_is_there_and_fetched_where_one_is(
    graphsearch, cluster, namespace, bucket, tmp_path, monkeypatch
):
    """Built from the cluster's facts with the user's own credentials; the bucket is left as it was."""
    monkeypatch.chdir(tmp_path)
    search = a_search().trials(4).evaluations(4).having(checkpoint=bucket)
    recorded = record(cluster, search.obj(), namespace, "s").show(played(search))
    store = store_of(bucket, recorded.root)
    code, out, _ = graphsearch("report", "s")
    assert (code, out) == (Exit.OK, f"report: {tmp_path}/s-report/index.html\n")
    assert "<title>s · graph search</title>" in (tmp_path / "s-report/index.html").read_text()
    assert store.list("") == []
    store.write("report/index.html", b"the operator's")
    store.write("report/weights/1.safetensors", b"weights")
    code, out, _ = graphsearch("report", "s", "--to", tmp_path / "fetched", "-o", "json")
    assert json.loads(out) == {"report": f"{tmp_path}/fetched/index.html"}
    files = {path.name: path.read_bytes() for path in (tmp_path / "fetched").rglob("*") if path.is_file()}
    assert files == {"index.html": b"the operator's", "1.safetensors": b"weights"}
    graphsearch("report", "s", "--build", "--to", tmp_path / "built")
    assert (tmp_path / "built/index.html").read_text() == (tmp_path / "s-report/index.html").read_text()


def test_purge_deletes_what_one_search_has_left(graphsearch, cluster, namespace, bucket):
    """Another of a longer name and the teachers stay; what goes is listed with its size."""
    search = a_search().trials(2).evaluations(2).having(checkpoint=bucket)
    recorded = record(cluster, search.obj(), namespace, "s").show(played(search))
    store = store_of(bucket, f"{bucket['uri']}/{namespace}")
    mine, other = recorded.root.rpartition("/")[2], "s-2-0123abcd"
    for key in (f"{mine}/trials/0/1.pt", f"{mine}/report/index.html", f"{other}/trials/0/1.pt", "teachers/t.pt"):
        store.write(key, b"x" * 1500)
    code, _, err = graphsearch("purge", "s")
    assert code == Exit.USAGE
    assert "--yes" in err
    code, out, _ = graphsearch("purge", "s", "--yes")
    assert code == Exit.OK
    assert f"1 objects     1.5 kB  {mine}/trials" in out
    assert "deleted 2 objects (3.0 kB)" in out
    assert store.list("") == [f"{other}/trials/0/1.pt", "teachers/t.pt"]
    code, out, _ = graphsearch("purge", "s", "--yes", "--teachers", "-o", "json")
    assert json.loads(out)["objects"] == 1
    assert store.list("") == [f"{other}/trials/0/1.pt"]


def test_purge_refuses_while_the_search_runs(graphsearch, cluster, namespace, bucket):
    """Also the teachers, while any search of the namespace runs that may need them."""
    search = a_search().trials(2).evaluations(2).having(checkpoint=bucket)
    record(cluster, search.obj(), namespace, "runs").show(HandPlayed(search.settled()).look().ledger)
    record(cluster, search.obj(), namespace, "ended").show(played(search))
    code, _, err = graphsearch("purge", "runs", "--yes")
    assert code == Exit.REFUSED
    assert "runs still runs; wait for it, or: graphsearch cancel runs" in err
    assert graphsearch("purge", "ended", "--yes")[0] == Exit.OK
    code, _, err = graphsearch("purge", "ended", "--yes", "--teachers")
    assert code == Exit.REFUSED
    assert "may need the teachers" in err


def test_purge_waits_for_the_report(graphsearch, cluster, namespace, bucket):
    """Between the end of a search and that of its Report, which reads and writes there, nothing goes."""
    search = a_search().trials(2).evaluations(2).having(checkpoint=bucket)
    record(cluster, search.obj(), namespace, "s").show(played(search))
    undecided = [{"op": "replace", "path": "/status/conditions/2/status", "value": "Unknown"}]
    place = ("graphsearches", "s", "-n", namespace, "--subresource=status")
    cluster.kubectl("patch", *place, "--type=json", "-p", json.dumps(undecided))
    code, _, err = graphsearch("purge", "s", "--yes")
    assert code == Exit.REFUSED
    assert "its report is not built yet" in err


def test_purge_finds_what_a_search_has_left_that_is_gone(graphsearch, namespace, bucket):
    """Every one of that name; where it has saved nobody else knows."""
    store = store_of(bucket, f"{bucket['uri']}/{namespace}")
    for key in ("gone-0123abcd/trials/0/1.pt", "gone-4567cdef/report/index.html", "gone-not/x"):
        store.write(key, b"x")
    address = ("--endpoint", bucket["endpoint"], "--region", bucket["region"], "--path-style")
    code, _, err = graphsearch("purge", "gone", "--yes", *address)
    assert code == Exit.NOT_FOUND
    assert "--uri" in err
    code, out, _ = graphsearch("purge", "gone", "--yes", "--uri", bucket["uri"], *address)
    assert code == Exit.OK
    assert "deleted 2 objects" in out
    assert store.list("") == ["gone-not/x"]


def test_an_endpoint_only_the_cluster_knows_is_said_to_be_the_matter(graphsearch, cluster, namespace, bucket, tmp_path):
    """The user is told of the option; with it the report is there."""
    inside = bucket | {"endpoint": "http://s3.storage.svc.invalid:8333"}
    search = a_search().trials(2).evaluations(2).having(checkpoint=inside)
    record(cluster, search.obj(), namespace, "s").show(played(search))
    code, _, err = graphsearch("report", "s")
    assert code == Exit.STORAGE
    assert "--endpoint" in err
    assert graphsearch("report", "s", "--endpoint", bucket["endpoint"], "--to", tmp_path)[0] == Exit.OK
    assert (tmp_path / "index.html").exists()
