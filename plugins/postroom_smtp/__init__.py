"""The SMTP connector: octets from a peer become an envelope and a message, or a refusal. Start reading at plugin.py."""
