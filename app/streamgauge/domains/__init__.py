"""One folder for each domain of analytics."""
