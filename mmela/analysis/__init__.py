"""What a person asks of a network: parameters and FLOPs."""
