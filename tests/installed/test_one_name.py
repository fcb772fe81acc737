"""An installation takes one name, whatever lies in the folder that it is started in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import splitbrain
from tests.conftest import NOT_COPIED, ROOT

ROOMS = ("harness", "checkers", "nemeses", "workloads", "reports")
A_PERSON_S_TEST = '''
import harness
import splitbrain
from splitbrain import Operation


def test_the_person_s_own_module():
    assert harness.MINE == "mine"


def test_a_history_is_judged():
    operations = [
        Operation(process=0, f="write", key="x", value=1, invoked=0, completed=10),
        Operation(process=1, f="read", key="x", value=None, invoked=20, completed=30),
    ]
    assert splitbrain.check(operations, "register").validity == "invalid"


def test_a_database_is_run(tmp_path):
    outcome = splitbrain.run("reference", variant="majority", nemesis="none", nodes=3, time=3, runs=tmp_path)
    assert outcome.folder.is_relative_to(tmp_path) and (outcome.folder / "report.html").exists()
    assert outcome.exit_code in (0, 2)
'''


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment into which splitbrain alone was installed; its dependencies are those of this one."""
    place = tmp_path_factory.mktemp(request.param)
    environment = place / "environment"
    call([sys.executable, "-m", "venv", "--without-pip", str(environment)], place)
    python = environment / "bin" / "python"
    target = Path(call([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place).strip())
    (target / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if request.param == "editable":
        what = ["--editable", str(ROOT)]
    else:
        copy = place / "source"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_COPIED)
        what = [str(copy)]
    call([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", *what], place)
    return python


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A person's folder in which everything is called as our rooms are, and a clone lies too."""
    (tmp_path / "harness.py").write_text('MINE = "mine"\n')
    for room in ROOMS[1:]:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise ImportError('a person has a folder of this name')\n")
    (tmp_path / "splitbrain").symlink_to(ROOT)
    (tmp_path / "test_mine.py").write_text(A_PERSON_S_TEST)
    return tmp_path


def call(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints that has to succeed; nothing of this repository is on its path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        command, cwd=folder, env={**clean, **(environment or {})}, capture_output=True, text=True, timeout=500, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_only_one_name_is_installed(installed: Path, folder: Path) -> None:
    target = call([str(installed), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    assert not {path.stem for path in Path(target).iterdir()} & {*ROOMS, "tests", "bench"}
    elsewhere = call([str(installed), "-P", "-c", "import importlib.util as u; print([n for n in "
                      f"{ROOMS} if u.find_spec(n)])"], folder)
    assert elsewhere.strip() == "[]"


def test_every_file_of_the_rooms_is_installed(installed: Path, folder: Path) -> None:
    """A page's style, a template or a case's suite that a wheel leaves out is missed only where it is used."""
    told = "import pathlib, splitbrain; print(pathlib.Path(splitbrain.__file__).parent)"
    there = Path(call([str(installed), "-P", "-c", told], folder).strip())
    files = {path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    assert not [str(file) for file in sorted(files) if not (there / file).is_file()]


def test_the_version_is_told(installed: Path, folder: Path) -> None:
    told = "import splitbrain, importlib.metadata as m; print(splitbrain.__version__, m.version('splitbrain'))"
    assert call([str(installed), "-c", told], folder).split() == [splitbrain.__version__] * 2


def test_a_command_beside_namesakes(installed: Path, folder: Path) -> None:
    command = [str(installed.with_name("splitbrain")), "test", "reference", "--variant", "majority", "--nemesis", "none",
               "--nodes", "3", "--time", "3", "--expect", "valid"]
    assert "NO ANOMALY FOUND" in call(command, folder)


def test_what_is_new_comes_with_an_installation(installed: Path, folder: Path) -> None:
    command = str(installed.with_name("splitbrain"))
    for part in ("database", "workload", "nemesis", "checker"):
        call([command, "new", part, f"my-{part}"], folder)
    assert "promises kept: splitbrain test may begin" in call([command, "verify", "./my_database.py"], folder)
    assert "--splitbrain-time" in call([str(installed), "-m", "pytest", "--help"], folder), "the plugin is found"


def test_a_person_s_tests_beside_namesakes(installed: Path, folder: Path) -> None:
    assert "3 passed" in call([str(installed), "-m", "pytest", "-q", "test_mine.py"], folder)
