"""Tests of streamgauge.entities."""
