"""The certificate file: a JSON header of strings and integers, then one zlib stream of arrays. Numbers are bit
patterns.

Reading trusts nothing: sizes are bounded before anything is expanded, every key, array, count and bit must be
accounted for.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check import records as trees
from torchlean_check.errors import CheckError
from torchlean_check.frozen import frozen
from torchlean_check.gzipped import MAX_BYTES as MAX_MODEL
from torchlean_check.gzipped import Bytes, unpack
from torchlean_check.kernel import SEMANTICS
from torchlean_check.magic import TREE
from torchlean_check.network import TABLES
from torchlean_check.packed import Records, read
from torchlean_check.records import SlopeTable, Tree
from torchlean_check.vnnlib_reader import MAX_BYTES as MAX_PROPERTY

MAX_HEADER, MAX_BODY, MAX_TABLES = 1 << 24, 1 << 32, 1 << 22
LARGE = 1 << 26  # bytes from which on they are packed in a hurry
COLUMNS = {
    "op": "u1",
    "axis": "u2",
    "at": "f8",
    "value": "u4",
    "index": "u4",
    "value_at": "f8",
    "record": "i8",
    "set": "u4",
    "set_value": "u4",
    "set_size": "u4",
    "entry": "u4",
    "table": "u4",
    "slope": "i2",
}
KEYS = {
    "format": int,
    "model": str,
    "property": str,
    "semantics": str,
    "table": str,
    "writer": str,
    "root": str,
    "trees": list,
    "tables": int,
    "arrays": list,
}


def digest(data: Bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@frozen(eq=False)
class Certificate:
    """Hints for one pair of files. model, property: SHA-256 of their uncompressed bytes."""

    model: str
    property: str
    semantics: str
    root: str
    writer: str
    trees: tuple[Tree, ...]
    tables: tuple[SlopeTable, ...] = ()
    table: str = TABLES[0]

    @staticmethod
    def of(
        model_bytes: Bytes,
        property_bytes: Bytes,
        *,
        semantics: str,
        trees: Sequence[Tree],
        tables: Sequence[SlopeTable] = (),
        root: str = "derive",
        table: str = TABLES[0],
        writer: str,
    ) -> Certificate:
        """For a prover: files as read from disk, gzip or plain."""
        model, claim = (
            unpack(model_bytes, MAX_MODEL, "ONNX model"),
            unpack(property_bytes, MAX_PROPERTY, "VNN-LIB property"),
        )
        return Certificate(digest(model), digest(claim), semantics, root, writer, tuple(trees), tuple(tables), table)


def encode(certificate: Certificate) -> bytes:
    """The file's bytes. CheckError where it would be too large to be read."""
    c = certificate
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for tree in c.trees:
        for name in ("op", "axis", "at", "value", "index", "value_at"):
            columns[name].append(getattr(tree, name))
        columns["record"].append(Records.of(tree.records).words)
    sets = {id(table.entries): table.entries for table in c.tables}
    for entries in sets.values():
        columns["set"].append([len(entries)])
        columns["set_value"].append(list(entries))
        columns["set_size"].append([len(mine) for mine in entries.values()])
        columns["entry"] += entries.values()
    place = {key: number for number, key in enumerate(sets)}
    columns["table"] = [[place[id(table.entries)] for table in c.tables]]
    columns["slope"] = [table.slopes for table in c.tables]
    arrays = {
        name: np.concatenate([np.asarray(p) for p in parts]).astype("<" + COLUMNS[name])
        if len(parts)
        else np.zeros(0, "<" + COLUMNS[name])
        for name, parts in columns.items()
    }
    key = max((key for entries in sets.values() for key in entries), default=0)  # planes of late tables have large ones
    if (total := sum(a.nbytes for a in arrays.values())) > MAX_BODY or len(c.tables) > MAX_TABLES or key >> 32:
        most = f"{MAX_BODY} bytes, {MAX_TABLES} tables, keys below 2^32"
        raise refuse("the certificate is too large", most, [total, len(c.tables), key])
    header = {
        "format": 4,
        "model": c.model,
        "property": c.property,
        "semantics": c.semantics,
        "table": c.table,
        "writer": c.writer,
        "root": c.root,
        "trees": [len(t.op) for t in c.trees],
        "tables": len(c.tables),
        "arrays": [[k, COLUMNS[k], len(a)] for k, a in arrays.items()],
    }
    head = json.dumps(header, separators=(",", ":")).encode()
    packed = zlib.compress(b"".join(a.tobytes() for a in arrays.values()), 1 if total > LARGE else 6)
    return TREE + struct.pack("<I", len(head)) + head + packed


def write_certificate(path: str | os.PathLike[str], certificate: Certificate) -> bytes:
    """Write the file whole or not at all; returns its bytes. OSError as the system gives it."""
    import tempfile  # here, because it takes long to import and only a prover writes
    from pathlib import Path

    data, target = encode(certificate), Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return data


# -- reading -----------------------------------------------------------------------------------------------------------


def refuse(what: str, expected: str, got: object) -> CheckError:
    return CheckError(
        what,
        where="certificate",
        expected=expected,
        got=str(got)[:200],
        fix="give the certificate that was written for these files",
    )


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    if data[:8] != TREE or len(data) < 12:
        raise refuse(
            "this is not a certificate",
            f"a file that starts with {TREE!r}",
            repr(data[:8]) if data else "an empty file",
        )
    size = struct.unpack("<I", data[8:12])[0]
    if size > min(MAX_HEADER, len(data) - 12):
        raise refuse("the header is truncated or too long", f"at most {min(MAX_HEADER, len(data) - 12)} bytes", size)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({k for k, _ in items}) != len(items):
            raise refuse("a header key is given twice", "each once", [k for k, _ in items])
        return dict(items)

    def no_float(text: str) -> Any:
        raise refuse("the header holds a number that is not an integer", "integers and strings", text)

    try:
        header = json.loads(
            data[12 : 12 + size].decode("utf-8"), object_pairs_hook=pairs, parse_float=no_float, parse_constant=no_float
        )
    except (ValueError, RecursionError) as error:
        raise refuse("the header is not JSON", "one JSON object", error) from None
    if (
        not isinstance(header, dict)
        or set(header) != set(KEYS)
        or any(type(header[k]) is not t for k, t in KEYS.items())
    ):
        raise refuse(
            "the header's keys are not the format's",
            ", ".join(KEYS),
            sorted(header) if isinstance(header, dict) else header,
        )
    return header, 12 + size


def _counts(values: Any, most: int) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= most for v in values)


def decode(data: bytes) -> Certificate:
    """The certificate in a file's bytes; CheckError says what is wrong with it. Fit to a network is the replay's
    matter."""
    header, at = _header(data)
    if (
        header["format"] != 4
        or header["semantics"] not in SEMANTICS
        or header["root"] not in ("derive", "interval")
        or header["table"] not in TABLES
    ):
        raise refuse(
            "format, semantics, root rule or tolerance table is unknown",
            f"format 4, {SEMANTICS}, derive or interval, {TABLES}",
            [header[k] for k in ("format", "semantics", "root", "table")],
        )
    counts: list[Any] = [
        entry[2] if isinstance(entry, list) and len(entry) == 3 else None for entry in header["arrays"]
    ]
    if not _counts(counts, MAX_BODY) or [entry[:2] for entry in header["arrays"]] != [
        [k, t] for k, t in COLUMNS.items()
    ]:
        raise refuse("the list of arrays is not the format's", str(list(COLUMNS.items())), header["arrays"])
    if (
        not _counts(header["trees"], trees.MAX_NODES)
        or not 0 < len(header["trees"]) <= 1 << 14
        or not 0 <= header["tables"] <= MAX_TABLES
    ):
        raise refuse(
            "the list of trees or the number of tables is out of range",
            f"1 to {1 << 14} trees of at most {trees.MAX_NODES} nodes",
            header["trees"],
        )
    total: int = sum(n * int(t[1]) for n, t in zip(counts, COLUMNS.values(), strict=True))
    if total > MAX_BODY:
        raise refuse("the certificate is too large", f"at most {MAX_BODY} bytes", total)
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(data[at:], total + 1)
    except zlib.error as error:
        raise refuse("the arrays are damaged", "a zlib stream", error) from None
    if len(body) != total or not stream.eof or stream.unused_data:
        raise refuse(
            "the arrays are truncated, or bytes follow them", f"{total} bytes and no more", f"{len(body)} bytes"
        )
    arrays: dict[str, npt.NDArray[Any]] = {}
    start = 0
    for (name, kind), count in zip(COLUMNS.items(), counts, strict=True):
        arrays[name] = np.frombuffer(body, "<" + kind, count, start)
        start += count * int(kind[1])
    for name in ("at", "value_at"):
        if not np.isfinite(arrays[name]).all():
            raise refuse("a threshold is nan or infinite", "finite thresholds", name)
    return Certificate(
        header["model"],
        header["property"],
        header["semantics"],
        header["root"],
        header["writer"],
        _trees(arrays, header["trees"]),
        _tables(arrays, header["tables"]),
        header["table"],
    )


def _trees(arrays: dict[str, npt.NDArray[Any]], sizes: list[int]) -> tuple[Tree, ...]:
    if sum(sizes) != len(arrays["op"]):
        raise refuse("the trees do not add up", f"{len(arrays['op'])} nodes", sum(sizes))
    used = dict.fromkeys(("op", "axis", "at", "value"), 0)

    def cut(name: str, count: int, key: str) -> npt.NDArray[Any]:
        part = arrays[name][used[key] : used[key] + count]
        if len(part) != count:
            raise refuse(f"column {name} is too short", f"{used[key] + count} entries", len(arrays[name]))
        return part

    words = arrays["record"].astype(np.int64)
    out = []
    for size in sizes:
        op = cut("op", size, "op")
        kind = op & trees.KIND
        n = {"op": size, "at": int((kind == trees.SPLIT_AT).sum()), "value": int((kind == trees.SPLIT_VALUE).sum())}
        n["axis"] = int((kind == trees.SPLIT).sum()) + int((kind == trees.SPLIT_CLAUSE).sum()) + n["at"]
        records = read(words, int(((op & trees.RECORD) > 0).sum()))
        words = words[records.starts[-1] :]
        out.append(
            Tree(
                op,
                cut("axis", n["axis"], "axis"),
                cut("at", n["at"], "at"),
                cut("value", n["value"], "value"),
                cut("index", n["value"], "value"),
                cut("value_at", n["value"], "value"),
                records,
            )
        )
        for key in used:
            used[key] += n[key]
    ends = {"axis": "axis", "at": "at", "value": "value", "index": "value", "value_at": "value"}
    if any(len(arrays[name]) != used[key] for name, key in ends.items()) or len(words):
        raise refuse(
            "a column is longer than the trees need", "no spare entries", {name: len(arrays[name]) for name in ends}
        )
    return tuple(out)


def _tables(arrays: dict[str, npt.NDArray[Any]], count: int) -> tuple[SlopeTable, ...]:
    sets: list[dict[int, npt.NDArray[Any]]] = []
    values, sizes = arrays["set_value"].tolist(), arrays["set_size"].tolist()
    used = start = 0
    for parts in arrays["set"].tolist():
        mine = values[used : used + parts], sizes[used : used + parts]
        if len(set(mine[0])) != parts or len(mine[1]) != parts:
            raise refuse("a set of entries lists a value twice, or is cut off", f"{parts} values", mine[0])
        sets.append({})
        for value, size in zip(*mine, strict=True):
            sets[-1][value] = arrays["entry"][start : start + size]
            start += size
        used += parts
    if (used, used, start) != (len(values), len(sizes), len(arrays["entry"])):
        raise refuse("the sets of entries do not add up", f"{used} values, {start} entries", [len(values), len(sizes)])
    whole = np.array([sum(map(len, entries.values())) for entries in sets], np.int64)
    table = arrays["table"]
    if len(table) != count or (table >= len(sets)).any() or whole[table].sum() != len(arrays["slope"]):
        raise refuse("the slope tables do not add up", f"{count} tables, sets below {len(sets)}", len(arrays["slope"]))
    ends = np.cumsum(whole[table])
    cuts = zip(table.tolist(), (ends - whole[table]).tolist(), ends.tolist(), strict=True)
    return tuple(SlopeTable(sets[k], arrays["slope"][first:end]) for k, first, end in cuts)
