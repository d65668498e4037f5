"""`@frozen` does what `@dataclass(frozen=True)` does."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from torchlean_check.frozen import frozen


def forms(make):
    """The same record by both."""
    return make(frozen), make(dataclass(frozen=True))


def point(decorate):
    @decorate
    class Point:
        """doc"""

        x: int
        y: int = 2
        tags: list[int] = field(default_factory=list)
        note: str = field(default="-", repr=False, compare=False)
        total: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.x + self.y)

    return Point


@frozen
class Kept:
    """At the top of a module, where pickle finds it."""

    x: int
    y: tuple[int, ...] = ()


@frozen
class More(Kept):
    z: int = 5


@frozen(eq=False)
class Lone:
    x: int


@frozen
class Told:
    """Its own methods stand."""

    x: int

    def __repr__(self) -> str:
        return "told"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7


def test_arguments_defaults_and_factories():
    mine, usual = forms(point)
    assert list(inspect.signature(mine).parameters) == list(inspect.signature(usual).parameters)
    for args, named in [
        ((1,), {}),
        ((1, 3), {}),
        ((1,), {"note": "n"}),
        ((), {"x": 4, "tags": [1]}),
        ((1, 2, [3], "n"), {}),
    ]:
        a, b = mine(*args, **named), usual(*args, **named)
        assert [getattr(a, f.name) for f in fields(mine)] == [getattr(b, f.name) for f in fields(usual)]
        assert repr(a) == repr(b).replace(usual.__qualname__, mine.__qualname__)
    assert mine(1).tags is not mine(1).tags
    for args, named in [((), {}), ((1, 2, [], "", 5), {}), ((1,), {"x": 1}), ((1,), {"w": 1}), ((1,), {"total": 1})]:
        for form in (mine, usual):
            with pytest.raises(TypeError):
                form(*args, **named)


def test_nothing_changes_after_it_is_made():
    a = Kept(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        a.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'new'"):
        a.new = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del a.x
    assert a == Kept(1)


def test_equal_by_fields_of_one_class():
    assert Kept(1, (2,)) == Kept(1, (2,)) and hash(Kept(1, (2,))) == hash(Kept(1, (2,)))
    assert Kept(1) != Kept(2) and Kept(1) != More(1) and Kept(1) != (1, ())
    mine, _ = forms(point)
    assert mine(1, note="a") == mine(1, note="b") and mine(1) != mine(1, 3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(mine(1))  # it holds a list
    a = Lone(1)
    assert a == a and a != Lone(1) and len({a, Lone(1)}) == 2
    assert frozen(type("Empty", (), {}))() != 0


def test_own_methods_stand():
    assert repr(Told(1)) == "told" and Told(1) == 3 and hash(Told(1)) == 7
    with pytest.raises(FrozenInstanceError):
        Told(1).x = 2


def test_inheritance_replace_match_and_copies():
    a = More(1, (2,), 3)
    assert [f.name for f in fields(More)] == ["x", "y", "z"]
    assert replace(a, y=()) == More(1, (), 3) and repr(a) == "More(x=1, y=(2,), z=3)"
    match a:
        case More(1, y, z=3):
            assert y == (2,)
        case _:
            pytest.fail("no match")
    for made in (pickle.loads(pickle.dumps(a)), copy.copy(a), copy.deepcopy(a)):
        assert made == a and made is not a
        with pytest.raises(FrozenInstanceError):
            made.x = 2
