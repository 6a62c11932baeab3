"""Tests of streamgauge.domains.learning."""
