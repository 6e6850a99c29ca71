"""Settings that cannot be meant are refused; what is written in any case is one name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from postroom_dkim.settings import DkimSettings


@pytest.mark.parametrize("name", ["Received", "return-path", "DKIM-Signature", "Bcc", "a b", "", "x:", "Sübject"])
def test_what_changes_on_its_way_is_not_signed(name: str) -> None:
    with pytest.raises(ValidationError):
        DkimSettings(headers=(name,))
    with pytest.raises(ValidationError):
        DkimSettings(oversign=(name,))


def test_names_have_no_case() -> None:
    said = DkimSettings.model_validate({"headers": ["SUBJECT", "From"], "connectors": ["smtp"], "foreign": []})
    assert said.headers == ("subject", "from") and said.connectors == ("SMTP",) and said.foreign == ()


@pytest.mark.parametrize("table", [{"algorithms": []}, {"algorithms": ["dsa"]}, {"rsa_bits": 512}, {"connectors": []}, {"keys": 1}])
def test_what_cannot_be_meant(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DkimSettings.model_validate(table)
