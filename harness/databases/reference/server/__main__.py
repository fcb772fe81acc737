"""Start a server: `python3 -I DIR`, where DIR is this folder, wherever it was put and whatever it is called."""

import sys
from importlib import import_module
from pathlib import Path

folder = Path(__file__).resolve().parent
# Not the folder itself, whose modules would stand in the way of the standard library's.
sys.path[0] = str(folder.parent)
import_module(f"{folder.name}.command").main(sys.argv[1:])
