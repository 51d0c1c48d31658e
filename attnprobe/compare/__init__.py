"""Two runs or two models side by side."""
