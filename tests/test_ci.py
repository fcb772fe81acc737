"""The files for other repositories' jobs: what they run is there, and is run in a foreign repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CI = ROOT / "tools" / "ci"


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """A job's, with a `splitbrain` where `install` would have put it: this one."""
    venv = folder / "venv" / "bin"
    venv.mkdir(parents=True)
    program = venv / "splitbrain"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m splitbrain.harness.cli "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "SPLITBRAIN_VENV": str(folder / "venv"), **changes}


ACTION = (ROOT / "action.yml").read_text()


def evaluated(text: str, **given: str) -> str:
    """A text of the action as GitHub hands it on, for a job that gives these inputs; the others are as by default."""
    defaults = dict(re.findall(r'^  (\w+):\n    description: .*\n    default: "?(.*?)"?$', ACTION, re.MULTILINE))
    known = {f"inputs.{name}": value for name, value in {**defaults, **given}.items()} | {
        "github.action_path": str(ROOT), "github.job": "nightly", "github.run_id": "7", "github.run_attempt": "1",
        "format('splitbrain-{0}', github.job)": "splitbrain-nightly",
    }
    def told(found: re.Match[str]) -> str:
        return next(filter(None, (known[one] for one in found[1].split(" || "))), "")

    return re.sub(r"\$\{\{ (.*?) \}\}", told, text)


def step(name: str, folder: Path, job: dict[str, str], **given: str) -> subprocess.CompletedProcess[str]:
    """Run a step of the action as a runner does: its line, in its shell, with its environment, in the job's repository."""
    block = next(part for part in ACTION.split("\n    - ") if part.startswith(f"name: {name}\n"))
    env = {key: evaluated(value, **given) for key, value in re.findall(r"^        ([A-Z]+): (.*)$", block, re.MULTILINE)}
    line = evaluated(re.search(r"^      run: (.*)$", block, re.MULTILINE)[1], **given)  # type: ignore[index]
    assert "shell: bash" in block
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", line], cwd=folder, env=job | env, capture_output=True,
        text=True, timeout=240, check=False,
    )


@pytest.mark.servers
def test_a_job_of_a_foreign_repository_runs_a_suite_and_keeps_what_came_of_it(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    for name in ("reports", "checkers"):
        (foreign / name).mkdir(parents=True)  # As a stranger's folders may be called.
    (foreign / "nightly.toml").write_text(
        'time = 3\nnodes = 3\nnemesis = "none"\n[[runs]]\ndatabase = "reference"\nexpect = ["not-exercised"]\n'
        '[[runs]]\ndatabase = "reference"\nvariant = "no such"\n'
    )
    job = environment(tmp_path, GITHUB_OUTPUT=str(tmp_path / "out"))
    refused = step("Run", foreign, job, suite="nightly.toml", runs="my runs")
    assert refused.returncode == 64 and "exit-code=64" in (tmp_path / "out").read_text(), refused.stdout + refused.stderr
    (foreign / "nightly.toml").write_text('time = 3\nnodes = 3\nnemesis = "none"\n[[runs]]\ndatabase = "reference"\n')
    summary = tmp_path / "summary.md"
    earlier = foreign / "splitbrain-report" / "an-earlier-run" / "report.html"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of another day")
    (foreign / "splitbrain-report" / "notes.txt").write_text("the job's own")
    ran = step("Run", foreign, {**job, "GITHUB_STEP_SUMMARY": str(summary)}, suite="nightly.toml", runs="my runs")
    kept = {path.name for path in (foreign / "splitbrain-report").rglob("*") if path.is_file()}
    wanted = {"index.html", "junit.xml", "summary.md", "report.html", "journal.jsonl", "plan.toml"}
    assert wanted <= kept, ran.stdout + ran.stderr
    assert not earlier.parent.exists() and "notes.txt" in kept, "an earlier run's report is not this one's"
    assert f"exit-code={ran.returncode}" in (tmp_path / "out").read_text()
    assert "value: ${{ steps.splitbrain.outputs.exit-code }}" in ACTION and "      id: splitbrain\n" in ACTION
    cached = re.findall(r"path: \|\n((?: {10}\S.*\n)+)", ACTION)
    published = re.findall(r"^        path: (\w.*)$", ACTION, re.MULTILINE)
    assert [evaluated(lines, runs="my runs").split("\n")[1].strip() for lines in cached] == ["my runs"] * 2
    assert (foreign / "my runs").is_dir() and published == ["splitbrain-report"]
    assert "reference" in summary.read_text()


def test_a_job_that_names_nothing_or_no_database_is_refused(tmp_path: Path) -> None:
    job = environment(tmp_path, DATABASES="oracle")
    for word, told in (("run", "neither a suite nor a command"), ("install", "'oracle' is none of")):
        ran = subprocess.run([CI, word], cwd=tmp_path, env=job, capture_output=True, text=True, timeout=240, check=False)
        assert ran.returncode == 64 and told in ran.stderr


def test_the_words_of_a_job_are_quoted_as_in_a_shell_and_nothing_in_them_is_run(tmp_path: Path) -> None:
    job = environment(tmp_path)
    program = tmp_path / "venv" / "bin" / "splitbrain"
    program.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    (tmp_path / "a.toml").touch()
    words = """test "./my mine.py" --expect 'CP 80%'\n  --run-name *.toml $(touch run) `touch run`; touch run"""
    ran = subprocess.run(
        [CI, "run"], cwd=tmp_path, env={**job, "WORDS": words}, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("<test><./my mine.py><--expect><CP 80%><--run-name><*.toml><$(touch><run)><`touch>")
    assert ran.stdout.endswith("<--runs><runs>") and not (tmp_path / "run").exists()
    for at, name in enumerate(("new", "old one", "newest", "no run")):
        folder = tmp_path / "runs" / name
        folder.mkdir()
        (folder / ("notes" if name == "no run" else "journal.jsonl")).touch()
        os.utime(folder / ("notes" if name == "no run" else "journal.jsonl"), (1e9 - at % 2 * 99 + at,) * 2)
    again = subprocess.run([CI, "run"], cwd=tmp_path, env={**job, "WORDS": "test", "KEEP": "2"}, capture_output=True, text=True,
                           timeout=240, check=False)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"new", "newest", "no run"}, again.stderr
    open_ended = {**job, "WORDS": "test 'mine.py"}
    ran = subprocess.run([CI, "run"], cwd=tmp_path, env=open_ended, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 64 and "a quotation mark is not closed: test 'mine.py" in ran.stderr and not ran.stdout


def test_a_night_that_failed_is_kept_for_the_next_one_s_index() -> None:
    """A cache that is saved only by jobs that succeed would keep the green nights alone."""
    restore, save = re.findall(r"uses: actions/cache/(\w+)@v\d+\n(.*?)(?=\n    - )", ACTION, re.DOTALL)
    assert (restore[0], save[0]) == ("restore", "save") and "if: always()" in save[1] and "actions/cache@" not in ACTION
    named = re.findall(r"^        (?:restore-)?keys?: (.*)$", ACTION, re.MULTILINE)
    keys = [evaluated(key, suite="nightly.toml") for key in named]
    assert keys[0] == keys[2] and keys[0].startswith(keys[1]) and keys[1] == "splitbrain-nightly-nightly.toml-"
    assert evaluated("${{ inputs.artifact || github.job }}", artifact="redis-7") == "redis-7"
    for told in (r"path: \|\n(?: {10}\S.*\n)+", r" key: .+"):
        assert re.findall(told, restore[1]) == re.findall(told, save[1]) != []
    gitlab = (ROOT / "tools" / "gitlab.yml").read_text()
    assert re.search(r"cache:\n    key: splitbrain-\$CI_JOB_NAME_SLUG .*\n    when: always\b", gitlab)
    assert "    paths: [.splitbrain/cache, $RUNS]\n" in gitlab and "    RUNS: runs\n" in gitlab


def test_the_source_on_gitlab_is_that_of_today_though_another_history_lies_there(tmp_path: Path) -> None:
    """A shell runner keeps its folder: the lines are run twice, and the branch was written anew between them."""
    text = (ROOT / "tools" / "gitlab.yml").read_text()
    lines = re.findall(r"^    - (.*)$", text[text.index("  script:"):text.index("  artifacts:")], re.MULTILINE)
    fetch = "\n".join(("set -e", *(line for line in lines if "tools/ci" not in line)))
    for name in ("first", "second"):
        shutil.rmtree(tmp_path / "origin", ignore_errors=True)
        (tmp_path / "origin").mkdir()
        git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path / "origin"))
        for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", name)):
            subprocess.run((*git, *words), check=True)
        subprocess.run(["bash", "-c", fetch], cwd=tmp_path, check=True,
                       env=os.environ | {"SPLITBRAIN": f"file://{tmp_path}/origin"})
        told = subprocess.run(["git", "-C", str(tmp_path / ".splitbrain" / "source"), "log", "-1", "--format=%s"],
                              capture_output=True, text=True, check=True).stdout
        assert told.strip() == name


def test_both_files_call_the_script_with_variables_that_it_reads() -> None:
    script = CI.read_text()
    for file in (ROOT / "action.yml", ROOT / "tools" / "gitlab.yml"):
        text = file.read_text()
        assert "tools/ci" in text and " install" in text and " run" in text
    handed = set(re.findall(r"^ {8}([A-Z]+): \$\{\{ inputs", (ROOT / "action.yml").read_text(), re.MULTILINE))
    assert handed == {"DATABASES", "EXTRAS", "SUITE", "WORDS", "RUNS", "KEEP"}
    assert all(re.search(rf"\$\{{?{name}\b", script) for name in handed)
