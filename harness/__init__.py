"""One test, from plan to result: the phases of a run and everything they need."""
