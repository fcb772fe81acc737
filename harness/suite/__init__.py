"""Many runs as one: the matrix, what is kept of it, and the command that goes through it."""
