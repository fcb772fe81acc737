"""What the history proves: pure functions from a recording to a verdict."""
