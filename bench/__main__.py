"""All benchmarks: `python -m bench`."""

from bench import linearizability, runs

linearizability.main()
print(runs.tell())
