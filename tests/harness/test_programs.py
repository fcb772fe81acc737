"""Programs that are run for what they print, against real ones."""

from __future__ import annotations

import sys

import pytest

from splitbrain.harness.errors import SetupError
from splitbrain.harness.programs import run


def test_what_a_program_printed_and_how_it_ended() -> None:
    ran = run([sys.executable, "-c", "import sys; print('out'); print('wrong', file=sys.stderr); sys.exit(3)"], limit=60)
    assert (ran.code, ran.stdout, ran.said) == (3, "out\n", "wrong")
    assert run(["true"], limit=60).said == "it said nothing"


def test_one_sentence_where_it_does_not_come_to_its_end() -> None:
    with pytest.raises(SetupError, match=r"^`sleep 60` took longer than 0 s\.$"):
        run(["sleep", "60"], limit=0.1)
    with pytest.raises(SetupError, match=r"^the program no-such-program is missing on this machine\.$"):
        run(["no-such-program"], limit=1)
    with pytest.raises(SetupError, match=r"^the program no-such-program is missing: install it$"):
        run(["no-such-program"], limit=1, mend="install it")
