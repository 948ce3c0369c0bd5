"""How things in a workflow file may be called."""

from __future__ import annotations

import re

NAME_PATTERN = r"^[a-z0-9_-]{1,64}$"
PARAMETER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
CALL_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"


def is_name(text: str) -> bool:
    """Whether a step, dataset, model, input or output may have this name."""
    return re.fullmatch(NAME_PATTERN[1:-1], text) is not None


def is_parameter(text: str) -> bool:
    """Whether a parameter may have this name."""
    return re.fullmatch(PARAMETER_PATTERN[1:-1], text) is not None


def is_call(text: str) -> bool:
    """Whether a text has the form ``module:function``."""
    return re.fullmatch(CALL_PATTERN[1:-1], text) is not None
