"""Real experiments, each a small documentation of one thing."""
