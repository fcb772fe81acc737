"""What was recorded: operations, faults, phases, and the journal that keeps them."""
