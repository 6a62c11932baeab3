"""What `streamgauge doctor` does: take one look at everything (`snapshot`), then judge it without touching anything (`checks`)."""
