"""Relations over many sentences: corpora, hits of heads, accuracy and its controls."""
