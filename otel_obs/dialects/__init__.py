"""What spans of any GenAI instrumentation mean: one module for each dialect.

``reading.read`` and ``reading.read_log`` are the way in.
"""
