"""What is written and what is durable: the one way to the disk, the journal on it, and files that go with their last handle. Imports nothing of postroom."""
