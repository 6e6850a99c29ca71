"""DKIM signing: a transfer event that signs the mail this site originates (RFC 6376, RFC 8463)."""
