"""The IMAP4 service: folders on the server, headers without bodies, single parts of a message, offline clients (system overview section 5.3)."""
