"""The mailbox repository: folders as append-only logs with a derived view, and one file per message."""
