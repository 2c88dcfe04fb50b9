"""``python -m e2e.cluster.simulated_node``: the node as a process, told what to do over HTTP on loopback.

POST /faults      a Fault as JSON, for pods that start from now on       DELETE /faults    none any more
POST /kill        {"pods": pattern, "exitCode": 137}: names of the pods whose containers it ended
POST /go-on       {"pods": pattern}: trainers that hold at an evaluation begin it
POST /vanish      be gone without a word                                 POST /come-back
GET  /pods        what is played now
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from dataclasses import fields
from pathlib import Path

from aiohttp import web

from e2e.cluster.simulated_node.api import Api
from e2e.cluster.simulated_node.exposition import Addresses
from e2e.cluster.simulated_node.faults import Fault, Timing
from e2e.cluster.simulated_node.node import Node
from e2e.cluster.simulated_node.pod import Stage
from e2e.cluster.simulated_node.trainer import Checkpoints


def main() -> None:
    """Be the node until killed."""
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster.simulated_node", description="Plays pods.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--name", default="node-1")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--network", default="127.77.0.0/16", help="of its pods' addresses, in 127.0.0.0/8")
    parser.add_argument("--checkpoints", type=Path, required=True, help="a folder that all nodes share")
    for field in fields(Timing):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default, metavar="SECONDS")
    parser.add_argument("--control-port", type=int, required=True)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_be(parser.parse_args()))


async def _be(asked: argparse.Namespace) -> None:
    timing = Timing(**{field.name: getattr(asked, field.name) for field in fields(Timing)})
    asked.checkpoints.mkdir(parents=True, exist_ok=True)
    async with Api(asked.kubeconfig) as api, Addresses(asked.network) as addresses:
        node = Node(asked.name, asked.gpus, Stage(api, addresses, Checkpoints(asked.checkpoints), timing))
        await node.come_back()
        runner = web.AppRunner(_control(node), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", asked.control_port).start()
        await asyncio.Event().wait()


def _control(node: Node) -> web.Application:
    async def add_fault(request: web.Request) -> web.Response:
        node.faults.add(Fault.model_validate_json(await request.text()))
        return web.json_response({})

    async def clear_faults(_: web.Request) -> web.Response:
        node.faults.clear()
        return web.json_response({})

    async def kill(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(node.kill(asked["pods"], asked["exitCode"]))

    async def go_on(request: web.Request) -> web.Response:
        node.let_go_on((await request.json())["pods"])
        return web.json_response({})

    async def vanish(_: web.Request) -> web.Response:
        await node.vanish()
        return web.json_response({})

    async def come_back(_: web.Request) -> web.Response:
        await node.come_back()
        return web.json_response({})

    async def pods(_: web.Request) -> web.Response:
        return web.json_response(node.pods())

    application = web.Application()
    application.add_routes(
        [
            web.post("/faults", add_fault),
            web.delete("/faults", clear_faults),
            web.post("/kill", kill),
            web.post("/go-on", go_on),
            web.post("/vanish", vanish),
            web.post("/come-back", come_back),
            web.get("/pods", pods),
        ]
    )
    return application


if __name__ == "__main__":
    main()
