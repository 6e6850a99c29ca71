"""The post office connector (SF): what becomes of a message once it is addressed to a mailbox or a group of this site."""
