"""What a run leaves behind: records, files written whole, the lock file, summaries."""
