"""Runs cases: plans, measures and judges them, and explains the verdicts."""
