"""Pictures drawn with matplotlib, for files and notebooks."""
