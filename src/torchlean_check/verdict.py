"""Check one certificate against the files that it is about."""

from __future__ import annotations

import numpy as np

from torchlean_check import arith, format, tree
from torchlean_check.errors import CheckError
from torchlean_check.frozen import frozen
from torchlean_check.gzipped import Bytes, unpack
from torchlean_check.kernel import Kernel
from torchlean_check.network import Network
from torchlean_check.onnx_reader import read_network
from torchlean_check.records import distinct, rules
from torchlean_check.vnnlib_reader import MAX_BYTES as MAX_PROPERTY
from torchlean_check.vnnlib_reader import Region, read_property


@frozen
class Verdict:
    """status: valid (the violation is empty under `semantics`), holey (so, if the assumed leaves hold) or invalid.

    leaves, assumed   closed leaves and explicitly assumed ones;  where: the first failures or the assumed leaves, as
    text
    arithmetic, rules what the check used;  hash: SHA-256 of the certificate
    """

    status: str
    leaves: int
    assumed: int
    where: tuple[str, ...]
    semantics: str
    table: str
    arithmetic: str
    rules: tuple[str, ...]
    hash: str

    def __str__(self) -> str:
        return f"{self.status:<13}{self.leaves} leaves checked, {self.assumed} assumed"


def load(model_bytes: Bytes, property_bytes: Bytes) -> tuple[Network, tuple[Region, ...]]:
    """The network and the regions of two files, plain or gzip."""
    network = read_network(unpack(model_bytes))
    claim = read_property(unpack(property_bytes, MAX_PROPERTY, "VNN-LIB property"))
    if (claim.inputs, claim.outputs) != (network.inputs, network.outputs):
        raise CheckError(
            "the property does not fit the network",
            where="numbers of variables",
            expected=f"{network.inputs} X and {network.outputs} Y",
            got=f"{claim.inputs} X and {claim.outputs} Y",
            fix="give the property of this network",
        )
    return network, claim.regions


def check(
    model_bytes: Bytes, property_bytes: Bytes, cert_bytes: bytes, arithmetic: str = "rounded", workers: int = 1
) -> Verdict:
    """Derive every bound again and say whether the trees close. CheckError when a file is refused."""
    arith.self_test()
    arith.arithmetic(arithmetic)
    model, claim = unpack(model_bytes), unpack(property_bytes, MAX_PROPERTY, "VNN-LIB property")
    certificate = format.decode(cert_bytes)
    for name, data, said in (
        ("ONNX model", model, certificate.model),
        ("VNN-LIB property", claim, certificate.property),
    ):
        if format.digest(data) != said:
            raise CheckError(
                f"the certificate is about another {name}",
                where=f"certificate, SHA-256 of the {name}",
                expected=said,
                got=format.digest(data),
                fix="give the files that the certificate was written for",
            )
    network, regions = load(model, claim)
    if certificate.table != network.table:
        raise CheckError(
            "the tolerance table is not the network's",
            where="certificate, table",
            expected=network.table,
            got=certificate.table,
            fix="write the certificate again",
        )
    if len(regions) != len(certificate.trees):
        raise CheckError(
            "the number of trees does not fit the property",
            where="certificate",
            expected=f"{len(regions)}, one per region",
            got=str(len(certificate.trees)),
            fix="write the certificate again",
        )
    for table in distinct(certificate.tables):
        for value, entries in table.entries.items():
            size = network.places(value)
            if not size or not (np.diff(entries, prepend=-1) > 0).all() or (entries >= size).any():
                raise CheckError(
                    "a slope table does not fit the network",
                    where=f"certificate, value {value}",
                    expected=f"entries of a relu input, of places of a curve or a product, or of planes: rising, "
                    f"below {size}",
                    got=f"{len(entries)} entries, up to {entries.max(initial=0)}",
                    fix="write the certificate again",
                )
    leaves, assumed, where = 0, 0, []
    status = "valid"
    for number, (region, part) in enumerate(zip(regions, certificate.trees, strict=True)):
        kernel = Kernel(network, region, certificate.semantics, arithmetic, certificate.root)
        kernel.threads = workers
        outcome = tree.replay(kernel, part, tables=certificate.tables, workers=workers, stop_at_failure=True)
        leaves, assumed = leaves + outcome.leaves, assumed + len(outcome.holes)
        where += [f"tree {number}, node {i}: assumed" for i in outcome.holes[:10].tolist()]
        if outcome.failed is not None or not outcome.finished:
            nodes = [] if outcome.failed is None else outcome.failed.nodes.tolist()
            where, status = [f"tree {number}, node {i}: not refuted" for i in nodes[:10]], "invalid"
            break
    if status == "valid" and assumed:
        status = "holey"
    return Verdict(
        status,
        leaves,
        assumed,
        tuple(where),
        certificate.semantics,
        certificate.table,
        arithmetic,
        rules(network, certificate.tables),
        format.digest(cert_bytes),
    )
