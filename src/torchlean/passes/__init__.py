"""Graph to graph: the same meaning in every number system, smaller, sized, batched, frozen or in another format."""

from torchlean.passes.expand import expand
from torchlean.passes.freeze import freeze
from torchlean.passes.retype import retype
from torchlean.passes.rewrite import rewrite
from torchlean.passes.simplify import drop_unreachable, simplify
from torchlean.passes.specialise import specialise
from torchlean.passes.vmap import vmap

__all__ = ["drop_unreachable", "expand", "freeze", "retype", "rewrite", "simplify", "specialise", "vmap"]
