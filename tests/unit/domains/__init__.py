"""Tests of streamgauge.domains."""
