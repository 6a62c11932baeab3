"""Parts of a rebuild: the shadow, what has been taken into it, and how it takes the place of the rows (see `streamgauge_workers.rebuild`)."""
