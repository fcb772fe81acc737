"""Settings: lengths of time, the lines of values in a TOML text, and options of a class of one's own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.errors import UsageError
from splitbrain.harness.resolve import resolve
from splitbrain.harness.settings import line, seconds


@pytest.mark.parametrize(
    ("text", "length"),
    [("90", 90), ("20s", 20), ("1m30s", 90), ("1.5m", 90), ("2h", 7200), ("500ms", 0.5), ("1h 5s", 3605), ("-3", -3), ("0s", 0),
     ("", None), ("s", None), ("30s1m", None), ("soon", None), ("1d", None), ("1,5s", None)],
)
def test_a_length_of_time_as_people_write_it(text: str, length: float | None) -> None:
    assert seconds(text) == length


@given(st.lists(st.sampled_from(["# x = 1", "", "a{n} = 1", "a{n} = [\n 1,\n # 2\n]", 'a{n} = """\na0 = 1\n"""', "[t{n}]",
                                 "[t{n}.u]\nv = 2", "[[s]]\nw = 3"]), max_size=12))
def test_the_line_of_a_value_is_where_the_value_begins(statements: list[str]) -> None:
    """Cut off before that line the text lacks the value, and it is TOML; from that line on stands the value's name."""
    text = "\n".join(one.replace("{n}", str(number)) for number, one in enumerate(statements)) + "\n"

    def every(value: object, at: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [at, *(found for key, one in inner for found in every(one, (*at, key)))]

    lines = text.splitlines()
    for keys in every(tomllib.loads(text), ())[1:]:
        number = line(text, keys)
        assert line("\n".join(lines[: number - 1]), keys) == 0
        name = next(key for key in reversed(keys) if isinstance(key, str))
        assert name in lines[number - 1]
    assert line(text, ("nothing",)) == 0


MINE = """
from typing import Annotated
import splitbrain

class Mine(splitbrain.Nemesis):
    name = "mine"
    summary = "nothing"

    class Options(splitbrain.OptionTable, frozen=True):
        size: Annotated[int, splitbrain.Setting("How much.", low=1, high=9)] = 3

    def scenarios(self, nodes):
        return ("all",)

    def aim(self, scenario, view, rng):
        return (splitbrain.Kill(view.names[: self.options.size]),)
"""


def test_a_nemesis_of_ones_own_has_options(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    plan = resolve({"database": "redis", "nemesis": str(file), "options": {"mine": {"size": 2}}})
    assert plan.options["mine"] == {"size": 2}
    with pytest.raises(UsageError, match=r"\[options.mine\]: size is 10: it must be from 1 to 9"):
        resolve({"database": "redis", "nemesis": str(file), "options": {"mine": {"size": 10}}})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [("splitbrain.OptionTable, frozen=True", "dict", "Options is no subclass of splitbrain.OptionTable"),
     (" = 3", "", "the option 'size' has no default")],
)
def test_options_that_cannot_be_set_are_refused_at_load(tmp_path: Path, old: str, new: str, told: str) -> None:
    file = tmp_path / "mine.py"
    assert old in MINE
    file.write_text(MINE.replace(old, new))
    with pytest.raises(UsageError, match=told):
        resolve({"database": "redis", "nemesis": str(file)})
