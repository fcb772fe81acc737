"""The client of the reference database: JSON lines over a plain stream, one request, one line back, with the same id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, ClassVar

from splitbrain.harness.databases.connection import Connection
from splitbrain.harness.errors import Mismatch, Refused
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key

MAX_LINE = 8 << 20


class ReferenceClient(Connection):
    """One connection to one server; its reads ask the server's own copy where it is `local`."""

    ERRORS: ClassVar[dict[str, bool]] = {
        "no-quorum": True,
        "not-primary": True,
        "no-lease": True,
        "unsupported": True,
        "in-doubt": True,
        "compacted": True,
        "bad-request": True,
        "timeout": False,
        "peer-lost": False,
        "demoted": False,
    }
    """The server's word, which is the reason → whether the operation certainly did not happen. A refusal counts only where
    the table and the answer agree that it is definite; any other word, a lost connection and nonsense are indefinite."""

    DECIDED: ClassVar[frozenset[str]] = frozenset({"conflict", "locked", "taken"})
    """Words of a decision against the operation, for the sake of another."""

    REFUSABLE: ClassVar[frozenset[str]] = frozenset({"cas", "transfer", "acquire", "renew", "release", "guarded-write"})
    """The requests that the database may decide against, with what it saw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, local: bool = False) -> None:
        self._local = "local-" if local else ""
        self._reader = reader
        self._writer = writer
        self._calls = 0
        self._turn = asyncio.Lock()

    async def read(self, key: Key) -> int | None:
        """The value of a register, None where there is none."""
        return await self._number(await self.call(self._local + "read", key=key), "value")

    async def write(self, key: Key, value: int) -> None:
        """Set a register."""
        await self.call("write", key=key, value=value)

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """Set a register if it holds `expected`."""
        answer = await self.call("cas", key=key, expected=expected, new=new)
        if not answer["ok"]:
            raise Mismatch(await self._number(answer, "seen"))

    async def add(self, key: Key, element: int) -> None:
        """Add an element to a set."""
        await self.call("add", key=key, element=element)

    async def elements(self, key: Key) -> list[int]:
        """The elements of a set."""
        return await self._numbers(await self.call(self._local + "elements", key=key))

    async def increment(self, key: Key, amount: int) -> None:
        """Add to a counter."""
        await self.call("increment", key=key, amount=amount)

    async def count(self, key: Key) -> int:
        """What a counter has come to."""
        return (await self._integers((await self.call(self._local + "count", key=key)).get("value")))[0]

    async def deposit(self, key: Key, amount: int) -> None:
        """Put money into an account."""
        await self.call("deposit", key=key, amount=amount)

    async def transfer(self, source: Key, target: Key, amount: int) -> None:
        """Move money between accounts."""
        answer = await self.call("transfer", source=source, target=target, amount=amount)
        if not answer["ok"]:
            raise Mismatch(await self._number(answer, "seen"))

    async def balances(self, keys: Sequence[Key]) -> dict[Key, int]:
        """What accounts hold."""
        told = (await self.call(self._local + "balances", keys=list(keys))).get("balances")
        balances = await self._integers(*told) if isinstance(told, list) else []
        if len(balances) != len(keys):
            raise await self._lost("garbled-answer")
        return dict(zip(keys, balances, strict=True))

    async def enqueue(self, key: Key, element: int) -> None:
        """Put an element at the end of a queue."""
        await self.call("enqueue", key=key, element=element)

    async def dequeue(self, key: Key) -> int | None:
        """Take the first element of a queue out."""
        return await self._number(await self.call("dequeue", key=key), "value")

    async def waiting(self, key: Key) -> list[int]:
        """The elements of a queue."""
        return await self._numbers(await self.call(self._local + "waiting", key=key))

    async def acquire(self, key: Key, owner: int, lease: float) -> int:
        """Take a lock; its fence."""
        answer = await self._decided("acquire", key=key, owner=owner, lease=round(lease * 1000))
        return (await self._integers(answer.get("fence")))[0]

    async def renew(self, key: Key, owner: int, lease: float) -> None:
        """Begin a lock's lease anew."""
        await self._decided("renew", key=key, owner=owner, lease=round(lease * 1000))

    async def release(self, key: Key, owner: int) -> None:
        """Give a lock back."""
        await self._decided("release", key=key, owner=owner)

    async def holder(self, key: Key) -> int | None:
        """Who holds a lock."""
        return await self._number(await self.call(self._local + "holder", key=key), "value")

    async def guarded_write(self, key: Key, value: int, fence: int) -> None:
        """Set a register that a lock guards."""
        await self._decided("guarded-write", key=key, value=value, fence=fence)

    async def next_id(self, key: Key) -> int:
        """An identifier."""
        return (await self._integers((await self.call("id", key=key)).get("value")))[0]

    async def watch(self, key: Key, since: int) -> list[tuple[int, int]]:
        """The changes of a register after a revision."""
        told = (await self.call(self._local + "watch", key=key, since=since)).get("changes")
        try:
            changes = [(revision, value) for revision, value in told]  # type: ignore[union-attr]
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        for change in changes:
            await self._integers(*change)
        return changes

    async def _decided(self, op: str, **fields: Any) -> dict[str, Any]:
        answer = await self.call(op, **fields)
        if not answer["ok"]:
            raise Mismatch(await self._number(answer, "seen"))
        return answer

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """Do a transaction."""
        told = (await self.call(self._local + "txn", micros=list(micros))).get("micros")
        try:
            done = tuple((f, key, value) for f, key, value in told)  # type: ignore[union-attr]
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        if [micro[:2] for micro in done] != [micro[:2] for micro in micros]:
            raise await self._lost("garbled-answer")
        return done

    async def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """One request and its answer, which has a boolean `ok`, false only for what the table `REFUSABLE` names."""
        async with self._turn:
            if self.closed:
                raise Refused("no-connection")
            self._calls += 1
            number = self._calls
            request = {"id": number, "op": op, **fields}
            try:
                self._writer.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")
                line = await self._reader.readuntil(b"\n")
            except (OSError, EOFError) as error:
                raise await self._lost("connection-lost") from error
            except asyncio.LimitOverrunError as error:
                raise await self._lost("garbled-answer") from error
            except BaseException:
                await self.close()
                raise
        try:
            answer = json.loads(line)
            if answer["id"] != number:
                raise ValueError("an answer to something else")
            reason = answer.get("error")
            if reason is None and (answer["ok"] is True or (answer["ok"] is False and op in self.REFUSABLE)):
                return dict(answer)
            if answer["definite"] is True and reason in self.DECIDED:
                raise Mismatch
            definite = answer["definite"] is True and self.ERRORS.get(reason, False)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise await self._lost("garbled-answer") from error
        if definite:
            raise Refused(reason)
        raise await self._lost(*((reason,) if reason in self.ERRORS else ("unknown-error", line.decode(errors="replace"))))

    async def close(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""
        return self._writer.transport.is_closing()

    async def _number(self, answer: dict[str, Any], field: str) -> int | None:
        number = answer.get(field, "missing")
        if number is not None and type(number) is not int:
            raise await self._lost("garbled-answer")
        return number

    async def _numbers(self, answer: dict[str, Any]) -> list[int]:
        elements = answer.get("elements")
        if not isinstance(elements, list) or any(type(element) is not int for element in elements):
            raise await self._lost("garbled-answer")
        return elements

    async def _integers(self, *numbers: Any) -> list[int]:
        if any(type(number) is not int for number in numbers):
            raise await self._lost("garbled-answer")
        return list(numbers)
