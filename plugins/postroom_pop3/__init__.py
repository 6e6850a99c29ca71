"""POP3: one locked maildrop a session (RFC 1939, 2449, 2595, 5034, 6856). `plugin.py` is the table of contents."""
