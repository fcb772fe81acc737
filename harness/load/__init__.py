"""Generators, the Client protocol, and the workers that drive it."""
