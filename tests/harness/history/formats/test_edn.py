"""The EDN reader: every kind of form, and what it says of what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.formats import edn
from splitbrain.harness.history.formats.text import Text


def forms(text: str, *, torn: bool = False) -> list[Any]:
    return [form for form, _ in edn.forms(Text.of(text.encode()), [], torn=torn, unwrap=False)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nil true false", [None, True, False]),
        (":a :b/c foo foo.bar/baz + -", ["a", "b/c", "foo", "foo.bar/baz", "+", "-"]),
        ("0 -1 +2 3N 123456789012345678901234567890", [0, -1, 2, 3, 123456789012345678901234567890]),
        ("1.5 -2. 3e2 1.5M 2E-1", [1.5, -2.0, 300.0, 1.5, 0.2]),
        ("1/2 2/4 ##NaN ##Inf ##-Inf 1e999", ["1/2", "1/2", "##NaN", "##Inf", "##-Inf", "1e999"]),
        (r'"" "a b" "\"\\\n\tA" "é"', ["", "a b", '"\\\n\tA', "é"]),
        (r'"\ud83d\ude00" "\ud83d"', ["😀", "\ufffd"]),
        (r"\a \newline \space \u0041 \( \é", ["a", "\n", " ", "A", "(", "é"]),
        (r'#"a\d"', ["ad"]),
        ("[1 [2, (3)] []]", [(1, (2, (3,)), ())]),
        ("#{1 2} #{}", [frozenset({1, 2}), frozenset()]),
        ("{:a 1, [1] {2 3}}", [{"a": 1, (1,): {2: 3}}]),
        ("#{{:a 1} [2]}", [frozenset({(("a", 1),), (2,)})]),
        ("#:n{:a 1 :b/c 2} #:n {}", [{"n/a": 1, "b/c": 2}, {}]),
        ('#inst "2020" #uuid "x" #object[java.lang.X 0x1f "y"]', ["2020", "x", ("java.lang.X", 31, "y")]),
        ("#jepsen.history.Op{:a 1} #a #b 2", [{"a": 1}, 2]),
        ("#_ 1 2 #_ [3 {4 5}] [#_6 7 #_ #_ 8 9 10] {#_ :x :a #t 1}", [2, (7, 10), {"a": 1}]),
        ("; all\n1 ;more\n, ,2;end", [1, 2]),
    ],
)
def test_forms(text: str, expected: list[Any]) -> None:
    found = forms(text)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1\n 2", r"1:1: expected ']' at the end of this vector, found the end: --torn judges"),
        ("{:a [1", r"1:5: expected ']' at the end of this vector"),
        ('[1 "abc\n', r"1:4: expected '\"' at the end of this string"),
        ("[1\n  (2]", r"2:5: expected '\)' for the list of line 2, column 3, found '\]'"),
        ("]", r"1:1: expected an operation, found '\]', which closes nothing"),
        ("{:a}", "1:1: expected a value for every key of this map"),
        ("{:a 1 :a 2}", "1:1: expected every key once, found 'a' twice"),
        ("12x", "1:1: expected a number, found '12x'"),
        ("1/0", "1:1: expected a number, found '1/0'"),
        ("[1 #]", "1:4: expected EDN, found '#'"),
        ("[1 #_]", "1:1: expected a form after the last '#' in here"),
        (r"\foo", r"1:1: expected a character, found '\\foo'"),
        ("\x00", "1:1: expected EDN"),
        ("9" * 5000, "1:1: expected a number of at most 4000 digits, found one of 5000"),
        ("[" * 300, "1:201: expected at most 200 levels of nesting"),
        ("#_ #a", "1:6: expected more operations and the end of the history"),
    ],
)
def test_what_is_no_edn(text: str, message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        forms(text)


def test_torn_keeps_what_is_whole() -> None:
    assert forms('1 [2] [3 "x', torn=True) == [1, (2,)]


atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
values = st.recursive(
    atoms, lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=3), part, max_size=3), max_leaves=20
)


def written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + " ".join(map(written, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{written(name)} {written(part)}" for name, part in value.items()) + "}"
    return repr(value)


def thawed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [thawed(part) for part in value]
    return {name: thawed(part) for name, part in value.items()} if isinstance(value, dict) else value


@given(st.lists(values, max_size=4), st.sampled_from([" ", "\n", ",", " ;x\n", " #_ gone "]))
def test_what_was_written_is_read(given_values: list[Any], between: str) -> None:
    text = between.join(map(written, given_values))
    assert [thawed(form) for form in forms(text)] == given_values


PARTS = st.sampled_from((
    "nil", "7", "-3", "007", ":ok", ":invoke", ":read", "[1 2]", "[:r 1 nil]", "[[:append x [1, 2]]]", "[]", '"a b"', "1.5",
    "3N", "[1x 2]", "[1/0]", r"[\a \]]", "#{1}", "{:a 1}", "#_ 1 2", "99999999999999999999", ":nemesis", "[;]\n]", "true",
    "[true]",
))
MAPS = st.lists(st.tuples(st.sampled_from((":type", ":value", ":time", ":process", ":f")), PARTS), max_size=5).flatmap(
    lambda pairs: st.sampled_from((" ", ", ", ",", "\n ")).map(
        lambda between: "{" + between.join(f"{name} {part}" for name, part in pairs) + "}"
    )
)


def told(text: Text, **options: Any) -> list[Any]:
    notes: list[str] = []
    found: list[Any] = []
    try:
        for form in edn.forms(text, notes, **options):
            found.append(form)
    except HistoryError as error:
        found.append(str(error))
    return [repr(one) for one in found] + notes


AROUND = st.sampled_from(("{}", "[{}]", "({})", "[{}", "{} ]", "#_ {}", "[#_ {}]", "[[{}]]"))


@given(st.lists(MAPS, max_size=4), AROUND, st.booleans())
def test_plain_maps_are_read_at_once_as_the_tokens_read_them(maps: list[str], around: str, torn: bool) -> None:
    data = around.replace("{}", "\n".join(maps * 2)).encode()
    text = Text.of(data)
    assert told(text, torn=torn, layouts=edn.Layouts(text)) == told(Text.of(data), torn=torn)
