"""What a user asks of a network: parameters and FLOPs."""
