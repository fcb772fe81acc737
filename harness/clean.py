"""What runs that were killed left behind, on all testbeds and in the folder of runs, is removed; what could not be is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from splitbrain.harness import registry, store
from splitbrain.harness.errors import NotCleaned, SetupError


def clean(runs: Path | None, tell: Callable[[str], None], drop: Callable[[], bool]) -> int:
    """Remove it, and `tell` a line for each thing. `runs` is the folder of runs, None where only what was done to clusters of
    a person's own is put back; `drop` says whether the data of killed runs there goes, too. What cannot be removed does not
    hinder the rest. The exit code: 3 where something could not be."""
    removed: list[str] = []
    kept: list[str] = []
    for name in registry.names("testbeds"):
        testbed = registry.look_up("testbeds", name)
        if not testbed.attached and runs is None:
            continue
        try:
            removed += testbed.clean()
        except NotCleaned as error:
            removed += error.removed
            kept += error.kept
        except SetupError as error:
            kept.append(f"{name}: {error}")
    for line in (*removed, *kept):
        tell(line)
    left = [] if runs is None else list(store.left_data(runs))
    for run, size in left:
        tell(f"data of the killed run {run.folder}: {size / 1e6:,.0f} MB")
    dropped = left if left and drop() else []
    for run, _ in dropped:
        run.drop_data()
    if left and not dropped:
        tell("splitbrain clean --data drops it; journals and logs stay")
    gone = len(removed) + len(dropped)
    if gone:
        told = f"removed {gone}"
    elif left or kept:
        told = "nothing was removed"
    else:
        told = "nothing was left behind"
        told += "" if runs is None or runs.is_dir() else f"; there is no folder {runs}"
    tell(f"{told}; not cleaned: {len(kept)} (told above): mend that and clean again" if kept else told)
    return SetupError.exit_code if kept else 0
