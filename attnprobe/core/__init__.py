"""What every room speaks of: errors, names, texts, needs, verdicts, statistics, wording."""
