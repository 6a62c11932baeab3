"""What belongs to one web framework. Nothing else of ours imports these modules when it is imported itself."""
