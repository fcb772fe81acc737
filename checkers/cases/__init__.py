"""Case studies: what a service on top of a database gave and gave up, counted in recorded operations."""
