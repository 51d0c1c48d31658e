"""Types and helpers of every other room: errors, names, texts, needs, verdicts, wording."""
