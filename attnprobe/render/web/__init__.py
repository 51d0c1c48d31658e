"""HTML: pieces of the report and whole pages, without matplotlib."""
