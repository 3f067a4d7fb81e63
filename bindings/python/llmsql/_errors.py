# SPDX-License-Identifier: MIT
"""What goes wrong."""


class Error(Exception):
    """What is wrong, where, and what to do, in one line."""


class Interrupted(Error):
    """The work was ended by `Model.interrupt`."""
