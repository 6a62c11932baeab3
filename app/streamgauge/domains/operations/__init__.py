"""Streamgauge about itself: what it sends to see whether its own path works."""
