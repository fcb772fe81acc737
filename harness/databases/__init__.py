"""What is tested: one module per database, each with its variants, its server and its client."""
