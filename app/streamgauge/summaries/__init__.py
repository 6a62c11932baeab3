"""How events become summary rows: pure, no clock, no network."""
