"""MIME without e-mail objects: one linear scan, ENVELOPE and BODYSTRUCTURE ready to send, headers, text. Imports nothing of postroom."""
