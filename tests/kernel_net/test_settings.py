"""Settings that several services have: what is accepted, and what an operator is told of what is not."""

from __future__ import annotations

from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError

from postroom_net.settings import LOOPBACK, AccessListener, Connections, Exempt, Listener, OAuth, OAuthSettings, Table, passes

ISSUER = {"issuer": "https://id.test", "audience": "mail"}


class Posts(AccessListener):
    service: ClassVar[str] = "post"
    usual: ClassVar[str] = "post"


class Some(Table):
    connections: Connections = 5
    exempt: Exempt = LOOPBACK
    oauth: OAuth = None


@pytest.mark.parametrize(
    ("listener", "instance", "label"),
    [
        (Posts(port=1), "", "post"),
        (Posts(port=1), "post", "post"),
        (Posts(port=1, tls="implicit"), "post", "posts"),
        (Posts(port=1, tls="implicit"), "old", "old-posts"),
        (Posts(port=1, label="inside"), "old", "inside"),
    ],
)
def test_labels(listener: AccessListener, instance: str, label: str) -> None:
    assert listener.named(instance) == label


@pytest.mark.parametrize(
    ("plaintext", "peer", "may"),
    [
        (False, "127.0.0.1", False),
        (True, "192.0.2.1", True),
        (True, "", True),
        ("loopback", "127.0.0.9", True),
        ("loopback", "::1", True),
        ("loopback", "192.0.2.1", False),
        ("loopback", "", False),  # a peer that is gone already has no address
        ("loopback", "fe80::1%eth0", False),
    ],
)
def test_where_passwords_pass_without_tls(plaintext: bool | Literal["loopback"], peer: str, may: bool) -> None:
    assert passes(plaintext, peer) is may


def test_defaults_are_the_fields_and_descriptions_the_types() -> None:
    assert Some().exempt == ("127.0.0.1", "::1") and Some().connections == 5
    assert all(field.description for field in Some.model_fields.values())


@pytest.mark.parametrize("exempt", [["mail.example.test"], ["10.0.0.0/33"], [""]])
def test_an_exempt_address_that_is_none_stopped_the_start_with_no_word_of_the_setting(exempt: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Some.model_validate({"exempt": exempt})
    assert [one["loc"] for one in refused.value.errors()] == [("exempt", 0)]


@pytest.mark.parametrize("exempt", [["10.0.0.7/8"], ["2001:db8::/32", "192.0.2.1"], []])
def test_exempt_addresses_stay_as_they_were_written(exempt: list[str]) -> None:
    assert list(Some.model_validate({"exempt": exempt}).exempt) == exempt


@pytest.mark.parametrize("keys", ["http://id.test/keys", "https://me@id.test/keys", "https:///keys", "ftp://id.test/keys"])
def test_a_url_of_keys_that_nobody_can_ask_stopped_the_start_with_no_word_of_the_setting(keys: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Some.model_validate({"oauth": {**ISSUER, "keys": keys}})
    assert [one["loc"] for one in refused.value.errors()] == [("oauth", "keys")]


@pytest.mark.parametrize("keys", ["keys.json", "idp/keys.json", "https://id.test:8443/keys?v=2"])
def test_keys_come_from_a_file_or_an_https_url(keys: str) -> None:
    assert OAuthSettings.model_validate({**ISSUER, "keys": keys}).keys == keys


@pytest.mark.parametrize("wrong", [{"prot": 1, "port": 2}, {}, {"port": 65536}, {"port": 1, "label": "In side"}])
def test_a_listener_with_what_nobody_knows_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Listener.model_validate(wrong)
