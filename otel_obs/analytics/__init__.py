"""Answers: what was spent, by whom and on what."""
