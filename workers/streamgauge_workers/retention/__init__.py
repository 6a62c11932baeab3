"""Keeping the event log within its days and bytes: archived to Parquet, sealed, then dropped."""
