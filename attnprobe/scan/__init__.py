"""`attnprobe scan`: which head does a relation, and what else each head does."""
