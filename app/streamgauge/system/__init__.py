"""How the whole installation is: `/api/v1/system/metrics`."""
