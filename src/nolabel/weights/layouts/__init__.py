"""Name maps between official checkpoints and our networks, as data."""
