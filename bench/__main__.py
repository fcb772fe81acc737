"""All benchmarks: `python -m bench`; the grid alone, or parts of it: `python -m bench grid ...`; side by side with the commit
before, or another: `python -m bench pairs [COMMIT] ...`.
"""

import sys

from bench import grid, large, linearizability, pairs, runs, transactions

if sys.argv[1:2] == ["pairs"]:
    pairs.main(sys.argv[2:])
elif sys.argv[1:2] == ["grid"]:
    grid.main(sys.argv[2:])
else:
    linearizability.main()
    print(transactions.tell(transactions.measured(transactions.SIZES[-1])))
    print(runs.tell())
    print(large.tell(large.measured(large.OPERATIONS)))
    grid.main([])
