"""Gamification: points (XP), levels, achievements, streaks and leaderboards, all computed from events."""
