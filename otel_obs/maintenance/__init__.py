"""Jobs that keep the rows right and small: settling, pricing again, and what comes with time."""
