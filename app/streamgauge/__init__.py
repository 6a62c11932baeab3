"""Real-time, privacy-first analytics for Python web applications."""
