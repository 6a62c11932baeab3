"""Conversations with an AI assistant: volume, latency, ratings, resolution and cost. What was said is never taken."""
