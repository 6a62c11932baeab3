"""Tests of streamgauge.domains.gamification."""
