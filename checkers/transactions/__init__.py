"""Transactions: which isolation levels a history of transactions refutes, which hold, and the cycles that prove it."""
