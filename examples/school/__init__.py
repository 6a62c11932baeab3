"""A small school that measures itself with Streamgauge. Start with `app.py`."""
