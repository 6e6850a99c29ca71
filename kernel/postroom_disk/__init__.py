"""What is written and what is durable: the one way to the disk, and the journal on it. Imports nothing of postroom."""
