"""What fits into memory and which DeepSpeed settings follow, computed without loading a weight."""
