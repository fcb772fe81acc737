"""All benchmarks: `python -m bench`."""

from bench import linearizability

linearizability.main()
