"""What was recorded: operations, faults, phases, and the journal that keeps them. Plain values, no I/O but the journal's own."""
