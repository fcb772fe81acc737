"""`splitbrain new`: a working file of a person's own, with comments, and its test."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from splitbrain.harness.errors import StorageError, UsageError

Part = Literal["database", "workload", "nemesis", "checker"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What can be made anew."""


def write(part: Part, name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py into a folder. Raises `UsageError` for a name that cannot be one and for files that are
    there already, `StorageError` if they cannot be written."""
    words = re.split(r"[-_ ]+", name.removesuffix(".py"))
    file = "_".join(words).lower()
    if not file.isidentifier() or not file.isascii() or keyword.iskeyword(file):
        raise UsageError(f"'{name}': a name is made of letters, digits and -, and begins with a letter.")
    if file == "splitbrain":
        raise UsageError("'splitbrain': a file of that name would hide splitbrain itself: choose another name.")
    told = {"@NAME@": file.replace("_", "-"), "@FILE@": file, "@CLASS@": "".join(word[:1].upper() + word[1:] for word in words)}
    made = folder / f"{file}.py", folder / f"test_{file}.py"
    for path in made:
        if path.exists():
            raise UsageError(f"{path}: is there already: choose another name.")
    for path, template in zip(made, (part, f"{part}_test"), strict=True):
        text = (files("splitbrain.harness") / "templates" / f"{template}.txt").read_text("utf-8")
        for mark, word in told.items():
            text = text.replace(mark, word)
        try:
            with path.open("x", encoding="utf-8") as out:
                out.write(text)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}.") from error
    return made
