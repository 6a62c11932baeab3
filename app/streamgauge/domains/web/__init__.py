"""Web requests: what came, how fast it was answered, and how it went."""
