"""All benchmarks: `python -m bench`; the grid alone, or parts of it: `python -m bench grid ...`."""

import sys

from bench import grid, large, linearizability, runs, transactions

if sys.argv[1:2] == ["grid"]:
    grid.main(sys.argv[2:])
else:
    linearizability.main()
    print(transactions.tell(transactions.measured(transactions.SIZES[-1])))
    print(runs.tell())
    print(large.tell(large.measured(large.OPERATIONS)))
    grid.main([])
