"""Words of a text and their tokens, found by character offsets; selectors of words and of heads."""
