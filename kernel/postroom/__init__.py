"""postroom: a mail server whose kernel moves mail and knows no protocol. A plugin author starts with `hookimpl`."""

from postroom.hookspecs import hookimpl, hookspec

__version__ = "0.1.0"
__all__ = ["__version__", "hookimpl", "hookspec"]
