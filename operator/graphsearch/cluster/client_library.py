"""The asynchronous part of the client library, without the synchronous one.

``import kubernetes`` runs a package that loads its synchronous client: 850 modules and 45 MiB which nobody here uses, a
third of what an operator may take. So the package is put there without being run, and only what is asked for below it
is loaded. Decided against: reading kubeconfigs and tokens ourselves, which is what the library is for.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

if "kubernetes" not in sys.modules and (spec := find_spec("kubernetes")):
    sys.modules["kubernetes"] = module_from_spec(spec)

from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

__all__ = ["Configuration", "RESTClientObject", "config"]
