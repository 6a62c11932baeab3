"""The read API: `/api/v1`, one module per noun. Routes authorise, load and call a report; reports are pure."""
