"""The designs: one mode a file."""
