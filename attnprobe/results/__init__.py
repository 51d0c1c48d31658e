"""Results of a run: records, files that are written atomically, the lock file, summaries."""
