"""What a call costs: the price of its model when it was made, times what was billed."""
