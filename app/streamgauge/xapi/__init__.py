"""Statements of ADL's Experience API (xAPI 1.0.3, IEEE 9274.1.1) as events of the learning domain."""
