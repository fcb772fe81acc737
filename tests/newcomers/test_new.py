"""What `splitbrain new` writes works as it stands, and `splitbrain verify` finds what is broken in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from splitbrain.harness import new, registry, verify
from splitbrain.harness.errors import UsageError
from tests.conftest import ROOT, Ran


def passes(test: Path, *options: str) -> None:
    """A person's own tests pass, in the person's folder."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name, *options], cwd=test.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=280, check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("part", new.PARTS)
def test_what_is_new_works_as_it_stands(splitbrain: Callable[..., Ran], tmp_path: Path, part: str) -> None:
    ran = splitbrain("new", part, "my-first")
    assert ran.code == 0 and [line.split()[-1] for line in ran.stdout.splitlines()[-1:]] == ["test_my_first.py"]
    assert not re.search("@[A-Z]+@", (tmp_path / "my_first.py").read_text() + (tmp_path / "test_my_first.py").read_text())
    checked = subprocess.run([sys.executable, "-m", "ruff", "check", "--line-length=128", "--select=E,F,B,UP", "."],
                             cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    passes(tmp_path / "test_my_first.py")
    again = splitbrain("new", part, "my-first")
    assert again.code == 64 and "is there already" in again.stderr


@pytest.mark.parametrize("name", ["", "1st", "class", "a.b", "../up", "splitbrain", "über"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        new.write("database", name, tmp_path)
    assert not list(tmp_path.iterdir())


LOST = "        except (OSError, ValueError) as error:\n"
READY = "        except (splitbrain.Refused, splitbrain.Indeterminate):\n"
REFUSED = 'raise splitbrain.Refused("no-connection") from error'
AGAIN = """\
        except (OSError, ValueError) as error:
            if not hasattr(self, "_again"):
                self._again = True
                self._reader, self._writer = await asyncio.open_connection(*self._writer.get_extra_info("peername"))
                return await self._ask(f, key, value)
"""
BROKEN = {
    "its answer lost": (('splitbrain.Indeterminate("connection-lost")', 'splitbrain.Refused("lost")'),),
    "asked once": ((LOST, AGAIN),),
    "nonsense is no answer": ((LOST, "        except ValueError:\n            return {}\n        except OSError as error:\n"),),
    "cancelled, it closes": (("        self._writer.transport.abort()\n", "        pass\n"),),
    "before it is started, ready() is false": (("        return True\n", "        return True\n\n    async def ready(self):\n"
                                                "        return True\n"),),
    "the cluster gets ready": ((REFUSED, "raise error"),),
    "connect() raises Refused": ((REFUSED, "raise error"), (READY, READY.replace("(", "(OSError, "))),
    "ready() was true: a connection to n2": (
        ("for node in self.nodes.values():\n                client =", "for node in [self._owner]:\n                client ="),
        ('print("listens at"', 'import time\nif own != owner:\n    time.sleep(30)\nprint("listens at"'),  # another node is late
    ),
    "primary() names a node": (("        return None\n\n    def replicas", '        return "leader"\n\n    def replicas'),),
    "local() reads a node's own copy": (("        return (self._owner.name,)", "        return tuple(self.nodes)"),),
    "compare-and-set: answers are right": (('        if "mismatch" in answer:', '        if "mismatches" in answer:'),),
    "versions() names": (('dict.fromkeys(self.nodes, "1")', '{"n1": "1"}'),),
}
"""A part of a promise's name → what breaks it in the template: texts, and the ones in their places."""


@pytest.mark.parametrize("promise", BROKEN)
def test_a_broken_promise_is_found(splitbrain: Callable[..., Ran], tmp_path: Path, promise: str) -> None:
    file, _ = new.write("database", "mine", tmp_path)
    text = file.read_text()
    for before, after in BROKEN[promise]:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    file.write_text(text)
    ran = splitbrain("verify", file, "--json")
    assert ran.code == 1, ran.stderr
    broken = [check["what"] for check in json.loads(ran.stdout) if not check["kept"]]
    assert any(promise in what for what in broken), broken


@pytest.mark.parametrize("database, options", [
    ("reference", ()), ("reference", ("--variant", "txn-snapshot")), ("etcd", ()), ("redis", ()),
])
def test_ours_keep_theirs(splitbrain: Callable[..., Ran], database: str, options: tuple[str, ...]) -> None:
    from tests.conftest import need

    need(*{"etcd": ("etcd",), "redis": ("redis-server",)}.get(database, ()))
    ran = splitbrain("verify", database, *options)
    assert ran.code == 0 and "splitbrain test may begin" in ran.said, ran.stdout


@pytest.mark.parametrize("database", registry.names("databases"))
def test_every_variant_can_be_tried_whatever_it_offers(database: str) -> None:
    for variant in registry.look_up("databases", database).variants:
        plan = verify.planned({"database": database, "variant": variant.name})
        assert (plan.variant, plan.nemesis) == (variant.name, "none")
        assert registry.look_up("workloads", plan.workload).needs <= variant.offers
