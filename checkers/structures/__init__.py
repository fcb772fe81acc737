"""Structures: what a counter, a bank and their like must satisfy, whatever order their operations took."""
