"""From words in a text to token positions, by character offsets; head selectors."""
