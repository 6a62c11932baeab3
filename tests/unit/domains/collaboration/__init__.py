"""Tests of streamgauge.domains.collaboration."""
