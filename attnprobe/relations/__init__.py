"""Relations over many sentences: corpora, where heads look, how often they are right."""
