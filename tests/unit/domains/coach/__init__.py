"""Tests of streamgauge.domains.coach."""
