"""The programs of Redis as services of a node, each with its own file of settings."""

from __future__ import annotations

from splitbrain.harness.testbeds.testbed import Node, Service


def service(
    name: str, program: str, node: Node, port: int, settings: tuple[str, ...], *, image: str, memory_mb: int
) -> Service:
    """One that listens on that port of a node, and keeps what it writes in the node's folder."""
    lines = (f"bind {node.address}", f"port {port}", "protected-mode no", 'dir "{folder}"', *settings)
    return Service(
        name=name, argv=(program, f"{{folder}}/{name}.conf"), files={f"{name}.conf": "\n".join(lines) + "\n"}, image=image,
        memory_mb=memory_mb,
    )


def server(node: Node, port: int, image: str, *settings: str) -> Service:
    """A server, whose replicas are served at once."""
    settings = ("repl-diskless-sync-delay 0", *settings)
    return service("redis", "redis-server", node, port, settings, image=image, memory_mb=32)


def sentinel(node: Node, port: int, image: str, *settings: str) -> Service:
    """A sentinel."""
    return service("sentinel", "redis-sentinel", node, port, settings, image=image, memory_mb=16)
