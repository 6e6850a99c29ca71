"""Every command: what does it, in which state it may be said, and what that means for what the client hears meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

from postroom_imap4 import (
    attributes,
    commands,
    compressing,
    doing_acl,
    doing_append,
    doing_folders,
    doing_login,
    doing_messages,
    doing_notify,
    doing_quota,
    doing_search,
    doing_select,
)
from postroom_imap4.commands import Command
from postroom_imap4.doing_search import names_numbers
from postroom_imap4.replies import Ended

if TYPE_CHECKING:
    from postroom_imap4.session import Session


class When(Enum):
    """In which state a command may be said."""

    ANY = "any"
    BEFORE = "before login"
    AFTER = "after login"
    SELECTED = "with a folder selected"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done for a class of commands. None ends nothing: the answer comes later, as that of IDLE."""

    do: Callable[..., Awaitable[Ended | None]]
    when: When
    numbers: bool  # names messages, by number unless `by_uid`
    hides: bool  # and then no EXPUNGE may be told with its answer (RFC 9051 section 7.5.1)
    slow: bool  # may take long without a word: signs of life are sent meanwhile
    changes: bool  # the selected folder, perhaps: what is new of it is told whatever the client watches
    leaves: bool  # the selected folder, whether it may still be read or not

    def counts(self, command: Command) -> bool:
        """Whether this one names messages by number; UID SEARCH does where numbers stand among its keys (RFC 7162 section 3.2.10.2)."""
        return self.numbers and (not getattr(command, "by_uid", False) or names_numbers(command))


C = TypeVar("C")


def _deed(
    command: type[C],
    do: Callable[[Session, C], Awaitable[Ended | None]],
    when: When,
    *,
    numbers: bool = False,
    hides: bool = False,
    slow: bool = False,
    changes: bool = False,
    leaves: bool = False,
) -> tuple[type[C], Deed]:
    return command, Deed(do, when, numbers or hides, hides, slow, changes, leaves)


DEEDS: Final[dict[type, Deed]] = dict[type, Deed](
    (
        _deed(commands.Capability, doing_login.capability, When.ANY),
        _deed(commands.Noop, doing_login.noop, When.ANY),
        _deed(commands.Logout, doing_login.logout, When.ANY, leaves=True),
        _deed(commands.Id, doing_login.identify, When.ANY),
        _deed(commands.StartTls, doing_login.start_tls, When.BEFORE),
        _deed(commands.Authenticate, doing_login.authenticate, When.BEFORE),
        _deed(commands.LogIn, doing_login.log_in, When.BEFORE),
        _deed(commands.Unauthenticate, doing_login.unauthenticate, When.AFTER, leaves=True),
        _deed(commands.Enable, doing_login.enable, When.AFTER),
        _deed(commands.Namespace, doing_folders.namespace, When.AFTER),
        _deed(commands.Select, doing_select.select, When.AFTER, leaves=True),
        _deed(commands.Create, doing_folders.create, When.AFTER),
        _deed(commands.Delete, doing_folders.delete, When.AFTER),
        _deed(commands.Rename, doing_folders.rename, When.AFTER),
        _deed(commands.Subscribe, doing_folders.subscribe, When.AFTER),
        _deed(commands.List, doing_folders.list_folders, When.AFTER),
        _deed(commands.Status, doing_folders.status, When.AFTER),
        _deed(commands.Append, doing_append.append, When.AFTER, slow=True, changes=True),
        _deed(commands.Idle, doing_select.idle, When.AFTER),
        _deed(commands.Compress, compressing.compress, When.AFTER),
        _deed(commands.GetQuota, doing_quota.get_quota, When.AFTER),
        _deed(commands.GetQuotaRoot, doing_quota.get_quota_root, When.AFTER),
        _deed(commands.SetQuota, doing_quota.set_quota, When.AFTER),
        _deed(commands.GetMetadata, attributes.get_metadata, When.AFTER),
        _deed(commands.SetMetadata, attributes.set_metadata, When.AFTER, slow=True),
        _deed(commands.SetAcl, doing_acl.set_acl, When.AFTER, slow=True),
        _deed(commands.GetAcl, doing_acl.get_acl, When.AFTER),
        _deed(commands.ListRights, doing_acl.list_rights, When.AFTER),
        _deed(commands.MyRights, doing_acl.my_rights, When.AFTER),
        _deed(commands.Notify, doing_notify.notify, When.AFTER, slow=True),
        _deed(commands.Check, doing_login.noop, When.SELECTED),
        _deed(commands.Close, doing_select.close, When.SELECTED, slow=True, leaves=True),
        _deed(commands.Unselect, doing_select.unselect, When.SELECTED, leaves=True),
        _deed(commands.Expunge, doing_messages.expunge, When.SELECTED, slow=True, changes=True),
        _deed(commands.Fetch, doing_messages.fetch, When.SELECTED, hides=True),
        _deed(commands.Store, doing_messages.store, When.SELECTED, hides=True, changes=True),
        _deed(commands.Copy, doing_messages.copy, When.SELECTED, numbers=True, slow=True, changes=True),
        _deed(commands.Replace, doing_append.replace, When.SELECTED, numbers=True, slow=True, changes=True),
        _deed(commands.Search, doing_search.search, When.AFTER, hides=True, slow=True),
        _deed(commands.Sort, doing_search.sort, When.SELECTED, hides=True, slow=True),
        _deed(commands.Thread, doing_search.thread, When.SELECTED, hides=True, slow=True),
    )
)
