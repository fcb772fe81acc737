"""What people read: the terminal, the report, JUnit, tables of rates. Knows verdicts and histories, never databases."""
