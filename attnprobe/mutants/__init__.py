"""Tests of a suite on damaged and on harmless variants of its model: the kill table."""
