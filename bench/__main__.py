"""All benchmarks: `python -m bench`; the grid alone, or parts of it: `python -m bench grid ...`; side by side with the commit
before, or another: `python -m bench pairs [COMMIT] ...`.
"""

import sys

from bench import faults, grid, isolation, judging, large, linearizability, load, pairs, runs, structures, transactions

if sys.argv[1:2] == ["pairs"]:
    pairs.main(sys.argv[2:])
elif sys.argv[1:2] == ["grid"]:
    grid.main(sys.argv[2:])
else:
    linearizability.main()
    print(transactions.tell(transactions.measured(transactions.SIZES[-1])))
    print(isolation.tell(isolation.measured(isolation.KEYS)))
    structures.main([])
    print(runs.tell())
    print(load.tell())
    faults.main([])
    wrong = judging.measured(judging.OPERATIONS)
    print(judging.tell(wrong))
    found = large.measured(large.OPERATIONS)
    print(large.tell(found))
    grid.main([])
    sys.exit(0 if found.kept and wrong.kept else 1)
