"""Numbers as reports write them."""

from __future__ import annotations

from math import isnan


def signed(value: float, form: str = "+.3g") -> str:
    """A difference.

    Example:
        >>> signed(0.0123), signed(-0.3), signed(0.0123, "+.2f")
        ('+0.0123', '−0.3', '+0.01')
    """
    return format(value, form).replace("-", "−")


def p_text(p: float) -> str:
    """A p-value; `–` if there was no test.

    Example:
        >>> p_text(0.0234), p_text(0.00001), p_text(float("nan"))
        ('0.023', '< 0.001', '–')
    """
    if isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(number: float, what: str) -> str:
    """How many of something there are.

    Example:
        >>> counted(1, "case"), counted(2, "case"), counted(1.5, "hour")
        ('1 case', '2 cases', '1.5 hours')
    """
    return f"{number:g} {what}{'' if number == 1 else 's'}"
