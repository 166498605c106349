"""Options of the bundles: what a user may set, and which values are right."""

from custom.options.command_line import check_command_line

__all__ = ["check_command_line"]
