"""What `torchlean floats` computes in: formats and directions by name, and the stated overflow of fp8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from torchlean.errors import UsageError
from torchlean.floats import CATALOG, Format, Rounding
from torchlean.floats.soft import Overflow, Rules
from torchlean.frozen import frozen

_IEEE = {"binary16": "float16", "binary32": "float32", "binary64": "float64"}
_POLICIES = {"saturate": Overflow.SATURATE, "nan": Overflow.SPECIAL}
_DEFAULT = ("float32", "float64", "bfloat16")
Found = TypeVar("Found")


@frozen
class Arithmetic:
    """A format, a direction, and what an overflow gives where the format has no infinity.

    label   names it in a table: the format, with the policy where it counts and the direction where there are several
    """

    label: str
    format: Format
    mode: Rounding
    rules: Rules


def arithmetics(
    options: Any, *, every_format: bool, every_direction: bool, default: Sequence[str] = _DEFAULT
) -> list[Arithmetic]:
    """Each format of --format in each direction of --rounding.

    A format without infinity appears with the policy of --overflow. Where that is not given, it appears with both
    among all formats, and is refused when it was asked for by name.
    """
    asked = options.format is not None
    names = options.format.split(",") if asked else list(CATALOG) if every_format else default
    formats = [format_named(name, "--format") for name in names]
    modes = [direction_named(name) for name in options.rounding.split(",")] if options.rounding else (
        list(Rounding) if every_direction else [Rounding.NEAREST]
    )  # fmt: skip
    for flag, given in (("--format", formats), ("--rounding", modes)):
        if len(set(given)) < len(given):
            _refuse("a name is given twice", flag, "each name once", getattr(options, flag[2:]), "remove one")
    found = []
    for fmt in formats:
        policies = [None] if fmt.has_infinity else [options.overflow] if options.overflow else ["saturate", "nan"]
        if len(policies) > 1 and asked:
            _refuse(
                f"{fmt} has no infinity, and what an overflow gives is not stated",
                "--overflow",
                "--overflow saturate or --overflow nan",
                "no --overflow",
                "state it: frameworks differ, so there is no default",
            )
        for mode in modes:
            for policy in policies:
                label = str(fmt) + (f", {policy}" if policy else "")
                label += f", {mode.value}" if len(modes) > 1 and not every_direction else ""
                rules = Rules(overflow=_POLICIES[policy]) if policy else Rules()
                found.append(Arithmetic(label, fmt, mode, rules))
    return found


def settled(found: Sequence[tuple[Arithmetic, Found]]) -> list[tuple[Arithmetic, Found]]:
    """The same, without the second of two results that differ in the policy for overflow alone."""
    kept: dict[tuple[Format, Rounding, Any], tuple[Arithmetic, Found]] = {}
    for arithmetic, result in found:
        key = (arithmetic.format, arithmetic.mode, result)
        twin = kept.get(key)
        if twin is not None:
            label = arithmetic.label.replace(", nan", "", 1)
            kept[key] = (Arithmetic(label, arithmetic.format, arithmetic.mode, twin[0].rules), result)
        else:
            kept[key] = (arithmetic, result)
    return list(kept.values())


def format_named(name: str, where: str) -> Format:
    """A format by its own or IEEE 754's name. Raises UsageError."""
    found = CATALOG.get(_IEEE.get(name, name))
    if found is None:
        _refuse("no format of this name", where, ", ".join((*CATALOG, *_IEEE)), repr(name), f"{where} float32")
    return found


def direction_named(name: str) -> Rounding:
    """`toward-zero` or `roundTowardZero`. Raises UsageError."""
    own = {m.name.lower().replace("_", "-"): m for m in Rounding}
    if name in own:
        return own[name]
    try:
        return Rounding.named(name)
    except UsageError as error:
        _refuse("no rounding direction of this name", "--rounding", ", ".join(own) + "; or " + error.expected,
                repr(name), "--rounding nearest")  # fmt: skip


def pattern(text: str) -> int:
    """A bit pattern: 0x and hexadecimal digits, or 0b and binary ones, with _ between digits where wanted."""
    try:
        if text.lower().startswith(("0x", "0b")):
            return int(text, 0)
    except ValueError:
        pass
    _refuse("this is no bit pattern", "VALUE, with --bits", "0x and hexadecimal digits, or 0b and binary ones",
            repr(text), "torchlean floats 0x3dcccccd --bits float32")  # fmt: skip


def _refuse(what: str, where: str, expected: str, got: str, fix: str) -> NoReturn:
    raise UsageError(what, where=where, expected=expected, got=got, fix=fix)
