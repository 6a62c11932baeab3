"""Reading tallies and boards for reports about learners, drafts and the like: of those whom a caller may see, and of nobody else."""
