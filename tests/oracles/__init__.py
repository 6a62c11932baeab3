"""Plain, slow, obviously right recounts. Nothing here imports the project."""
