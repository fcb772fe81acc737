"""Porcupine's key-value files: EDN maps, one a line, always of the same shape.

    {:process 0, :type :invoke, :f :get, :key "7", :value nil}
    {:process 0, :type :ok, :f :get, :key "7", :value "x 0 0 y"}
"""

from __future__ import annotations

import re
from typing import cast

from splitbrain.harness.history.builder import Builder, Event, Kind
from splitbrain.harness.history.formats import edn
from splitbrain.harness.history.formats.text import Text

LINE = re.compile(
    r'\{:process (\d{1,18}), :type :(invoke|ok|fail|info), :f :(get|put|append), '
    r':key "([^"\\\n]*+)", :value (?:nil|"([^"\\\n]*+)")\}\s*?(?:\n|\Z)'
)


def read(text: Text, builder: Builder, *, torn: bool = False) -> list[str]:
    """Hand the events of such a file to `builder`; notes on how it was read. From a line of another shape on, the file is read
    as EDN."""
    for number, (at, line) in enumerate(text.lines()):
        match = LINE.fullmatch(line)
        if match is None:
            return edn.read_from(text, at, builder, torn=torn, unwrap=not number)
        process, kind, f, key, value = match.groups()
        builder.add(Event(type=cast(Kind, kind), process=int(process), f=f, key=key, value=value), text.place(at))
    return []
