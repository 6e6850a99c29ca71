"""What can be wrong with keys, each with its remedy."""

from __future__ import annotations

from postroom.errors import PostroomError


class KeyFault(PostroomError):
    """A key or the list of a domain's keys cannot be used: the operator's move. The text names the file, never what is in it."""


class NothingWaits(KeyFault):
    """There are no new keys to sign with: somebody else was first, or nobody made any."""
