"""Capture: what runs inside the host's process."""
