"""The client's side of SCRAM-SHA-256, written from RFC 5802 alone, so that ours is not tested by itself."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode


def digest(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


class Client:
    """One login. `header` is the gs2 header, `channel` the octets of the channel binding."""

    def __init__(
        self, login: str, password: str, *, header: bytes = b"n,,", channel: bytes = b"", nonce: bytes = b"rOprNGfwEbeRWgbNEkqO"
    ) -> None:
        self.password, self.header, self.channel, self.nonce = password.encode(), header, channel, nonce
        self.bare = b"n=" + login.replace("=", "=3D").replace(",", "=2C").encode() + b",r=" + nonce

    def first(self) -> bytes:
        return self.header + self.bare

    def final(self, said: bytes) -> bytes:
        """The answer to the server's first message."""
        values = dict(part.split(b"=", 1) for part in said.split(b","))
        assert values[b"r"].startswith(self.nonce) and len(values[b"r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac("sha256", self.password, b64decode(values[b"s"]), int(values[b"i"]))
        client_key = digest(salted, b"Client Key")
        without = b"c=" + b64encode(self.header + self.channel) + b",r=" + values[b"r"]
        text = b",".join((self.bare, said, without))
        signature = digest(hashlib.sha256(client_key).digest(), text)
        self.expected = b"v=" + b64encode(digest(digest(salted, b"Server Key"), text))
        return without + b",p=" + b64encode(bytes(a ^ b for a, b in zip(client_key, signature)))
