"""Options of the bundles: what a user may set, and which values are right."""

from custom.options.checking import check, check_name, check_values
from custom.options.keys import COMMANDS
from custom.options.running import find_running

__all__ = ["COMMANDS", "check", "check_name", "check_values", "find_running"]
