"""What ``helm test`` runs, with the operator's image: it changes nothing and says what is missing.

Arguments: the release's namespace and the name of the operator's Deployment. It uses the standard library only, so
that it shows what the cluster lacks and not what an image lacks.
"""

import http.client
import json
import os
import ssl
import sys
import time
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KINDS = {"GraphSearch", "GraphTrial"}
PATIENCE_SECONDS = 120.0


def ask(path: str) -> dict:
    """A path of the API server; LookupError if it refuses."""
    connection = http.client.HTTPSConnection(
        os.environ["KUBERNETES_SERVICE_HOST"],
        int(os.environ["KUBERNETES_SERVICE_PORT"]),
        timeout=10,
        context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
    )
    connection.request("GET", path, headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"})
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise LookupError(f"{path} answers {answer.status} {answer.reason}")
    return json.load(answer)


def missing(namespace: str, deployment: str) -> str:
    """What is not there yet, or nothing."""
    try:
        known = {kind["kind"] for kind in ask("/apis/graphsearch.io/v1alpha1")["resources"]}
        if KINDS - known:
            return f"the API server does not know {', '.join(sorted(KINDS - known))}; install with crds.enabled=true"
        status = ask(f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}")["status"]
    except LookupError as error:
        return str(error)
    except (OSError, http.client.HTTPException) as error:
        return f"the API server does not answer: {error}"
    if not status.get("readyReplicas"):
        return f"no pod of deployment {deployment} is ready; see kubectl -n {namespace} logs deployment/{deployment}"
    return ""


def main() -> int:
    """Wait a while for everything to be there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while problem := missing(*sys.argv[1:3]):
        if time.monotonic() > deadline:
            print(problem)
            return 1
        time.sleep(2)
    print("the operator is ready, and the API server knows GraphSearch and GraphTrial")
    return 0


sys.exit(main())
