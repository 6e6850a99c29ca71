"""What can be wrong between us and clamd. Each is the world's move: the hook raises it, and the operator's `on_error` says what the mail gets."""

from __future__ import annotations

from postroom.errors import PostroomError


class ScannerError(PostroomError):
    """clamd did not judge the message; the text says why, for logs and `postroom health`."""


class HungUp(ScannerError):
    """The connection ended. `silent`: not one octet of the answer had come, so the question may be put again elsewhere."""

    def __init__(self, what: str, *, silent: bool) -> None:
        self.silent = silent
        super().__init__(what)
