"""Trusted. The certificate file of a rounding analysis, and its check.

`TLROUND1\\n`, then one JSON object of strings, integers and lists. Keys, all required and no others: `format` 1,
`model` and `region` (SHA-256 of the uncompressed bytes), `semantics` ("float32/any-order"), `table`, `writer`, and
`claims`: for each named value [name, apart, lo, hi, real_lo, real_hi], each number the 16 hex digits of a binary64: no
entry's float and real values are further apart, and all lie between these ends.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from torchlean_check import arith, wire
from torchlean_check.errors import CheckError
from torchlean_check.format import digest
from torchlean_check.frozen import frozen
from torchlean_check.gzipped import unpack
from torchlean_check.magic import ROUNDING
from torchlean_check.rounding import derive
from torchlean_check.rules.rounding_function import TABLE
from torchlean_check.twin import Twin
from torchlean_check.vnnlib_reader import MAX_BYTES as MAX_PROPERTY
from torchlean_check.vnnlib_reader import read_property

SEMANTICS, MAX_FILE = "float32/any-order", 1 << 24
KEYS = {"format": int, "model": str, "region": str, "semantics": str, "table": str, "writer": str, "claims": list}
RULES = ("affine", "pointwise", "choice", "function", "layout")
Claim = tuple[str, float, float, float, float, float]


@frozen
class RoundingVerdict:
    """status: valid or invalid;  claims: how many were derived again;  where: the first that failed."""

    status: str
    claims: int
    where: tuple[str, ...]
    semantics: str
    table: str
    rules: tuple[str, ...]
    hash: str

    def __str__(self) -> str:
        return f"{self.status:<13}{self.claims} bounds of |float32 - real| checked"


def refuse(what: str, expected: str, got: object) -> CheckError:
    return CheckError(what, where="rounding certificate", expected=expected, got=str(got)[:200],
                      fix="give the certificate that was written for these files")  # fmt: skip


def claim_of(name: str, twin: Twin) -> Claim:
    """What `derive` proves of one value."""
    lo, hi, real_lo, real_hi = (float(v) for v in (
        twin.lo.min(), twin.hi.max(), twin.real_lo.min(), twin.real_hi.max()))  # fmt: skip
    return name, float(twin.apart.max()), lo, hi, real_lo, real_hi


def encode(model: bytes, region: bytes, claims: Sequence[Claim], writer: str) -> bytes:
    """The certificate's bytes; the two files plain or gzip."""
    header = {
        "format": 1, "model": digest(unpack(model)), "region": digest(unpack(region, MAX_PROPERTY, "VNN-LIB region")),
        "semantics": SEMANTICS, "table": TABLE, "writer": writer,
        "claims": [[name, *(struct.pack(">d", v).hex() for v in numbers)] for name, *numbers in claims],
    }  # fmt: skip
    return ROUNDING + json.dumps(header, separators=(",", ":")).encode()


def decode(data: bytes) -> tuple[dict[str, Any], tuple[Claim, ...]]:
    """The header and the claims. CheckError says what is wrong."""
    if not data.startswith(ROUNDING) or len(data) > MAX_FILE:
        raise refuse("this is not a rounding certificate", f"a file that starts with {ROUNDING!r}", data[:9])

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({k for k, _ in items}) != len(items):
            raise refuse("a key is given twice", "each once", [k for k, _ in items])
        return dict(items)

    def no_float(text: str) -> Any:
        raise refuse("the file holds a number that is not an integer", "integers and strings", text)

    try:
        header = json.loads(data[len(ROUNDING) :].decode(), object_pairs_hook=pairs, parse_float=no_float,
                            parse_constant=no_float)  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise refuse("the file is not JSON, or is truncated", "one JSON object", error) from None
    named = isinstance(header, dict) and set(header) == set(KEYS)
    if not named or any(type(header[k]) is not t for k, t in KEYS.items()):
        raise refuse("the keys are not the format's", ", ".join(KEYS), list(header) if named else header)
    if (header["format"], header["semantics"], header["table"]) != (1, SEMANTICS, TABLE):
        raise refuse("format, semantics or tolerance table is unknown", f"1, {SEMANTICS}, {TABLE}",
                     [header["format"], header["semantics"], header["table"]])  # fmt: skip
    claims = tuple(_claim(entry) for entry in header["claims"])
    if not claims or len({c[0] for c in claims}) != len(claims):
        raise refuse("there is no claim, or two about one value", "each value once", len(claims))
    return header, claims


def _claim(entry: Any) -> Claim:
    right = isinstance(entry, list) and len(entry) == 6 and all(type(v) is str for v in entry)
    try:
        numbers = [struct.unpack(">d", bytes.fromhex(v))[0] for v in entry[1:] if len(v) == 16] if right else []
    except (ValueError, struct.error):
        numbers = []
    if len(numbers) != 5 or not np.isfinite(numbers).all():
        raise refuse("a claim is not a name and five finite numbers", "[name, 16 hex digits, ...]", entry)
    return (entry[0], *numbers)


def check_rounding(model_bytes: bytes, region_bytes: bytes, cert_bytes: bytes) -> RoundingVerdict:
    """Derive every claimed bound again. CheckError when a file is refused."""
    arith.self_test()
    model, region = unpack(model_bytes), unpack(region_bytes, MAX_PROPERTY, "VNN-LIB region")
    header, claims = decode(cert_bytes)
    for what, data, said in (("ONNX model", model, header["model"]), ("region", region, header["region"])):
        if digest(data) != said:
            raise refuse(f"the certificate is about another {what}", said, digest(data))
    parsed, failed = wire.parse(model), []
    for part in read_property(region).regions:
        twins = derive(parsed, part)
        for claim in claims:
            if claim[0] not in twins:
                raise refuse("a claim is about a value that no input reaches", "a name of the graph", claim[0])
            if not _implied(claim_of(claim[0], twins[claim[0]]), claim):
                failed.append(f"'{claim[0]}': the bounds are not derived")
    status = "invalid" if failed else "valid"
    return RoundingVerdict(status, len(claims), tuple(failed[:10]), SEMANTICS, TABLE, RULES, digest(cert_bytes))


def _implied(proved: Claim, claim: Claim) -> bool:
    apart, lo, hi, real_lo, real_hi = proved[1:]
    return bool(apart <= claim[1] and claim[2] <= lo and hi <= claim[3] and claim[4] <= real_lo and real_hi <= claim[5])
