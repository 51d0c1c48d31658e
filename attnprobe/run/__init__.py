"""Plan, measure, judge: from cases to verdicts, their chance rates and their explanation."""
