"""Collaboration: drafts that several people write in turns; the "ring" is the token of the turn."""
