"""Real: the mathematical meaning. Exact rationals; Arb balls where a function is transcendental.

A comparison of balls that the working precision does not decide recomputes their ancestors at a higher one: each
inexact array remembers the operation that made it. An exact array remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from math import isqrt
from typing import Any, TypeAlias

import flint
import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.errors import DomainError, Undecided
from torchlean.frozen import frozen
from torchlean.meaning import structure
from torchlean.meaning.dtypes import AnyDType, cast_array, integer_range, kind_of, literal_array, name_of
from torchlean.meaning.float_system import Float

Objects: TypeAlias = NDArray[Any]
_INTEGERS = Float()  # integers and bools are exact in every number system: one implementation


@frozen(eq=False)
class Reals:
    """An array of real numbers.

    values   object array of flint.fmpq (exact) and flint.arb (enclosures; an infinite ball stands for -inf or inf)
    dtype    numpy name of the declared dtype; it does not round
    again    recomputes the array at another precision; None where every value is exact
    """

    values: Objects
    dtype: str
    again: tuple[str, tuple[Any, ...], dict[str, Any]] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)


Value: TypeAlias = "Reals | NDArray[Any]"
Operand: TypeAlias = "Reals | NDArray[Any] | float | int"


def _rounded_once(q: flint.fmpq, fmt: floats.Format) -> float:
    """q to nearest in the format; NaN beyond a format without infinity."""
    if fmt.has_infinity:
        return floats.round_rational(q, fmt)
    rules = floats.soft.Rules(overflow=floats.soft.Overflow.SPECIAL)
    return float(floats.soft.decode(floats.soft.encode(q, fmt, rules=rules).bits, fmt))


def _number(x: float) -> flint.fmpq | flint.arb:
    if np.isinf(x):
        return flint.arb.pos_inf() if x > 0 else flint.arb.neg_inf()
    if np.isnan(x):
        raise DomainError(
            "NaN is not a real number",
            where="Real.constant",
            expected="finite values, or infinities as limits",
            got="nan",
            fix="find the NaN in the constant, or evaluate in Float",
        )
    p, q = x.as_integer_ratio()
    return flint.fmpq(p, q)


def objects(values: Sequence[Any], shape: tuple[int, ...]) -> Objects:
    """An object array of this shape from a flat list."""
    out = np.empty(len(values), object)
    out[:] = values
    return out.reshape(shape)


def is_ball(x: Any) -> bool:
    return isinstance(x, flint.arb)


def _inexact(values: Objects) -> bool:
    """Whether some value would be sharper at a higher precision."""
    return any(isinstance(v, flint.arb) and not v.is_exact() for v in values.ravel().tolist())


def _ball(x: Any) -> flint.arb:
    return x if isinstance(x, flint.arb) else flint.arb(x)


def _checked(x: Any, what: str) -> Any:
    if isinstance(x, flint.arb) and x.is_nan():
        raise DomainError(
            f"{what} has no real value here",
            where=what,
            expected="operands in the domain",
            got="an undefined form such as inf - inf, or a ball that meets the edge of the domain",
            fix="keep the operands finite and inside the domain",
        )
    return x


class Real:
    """Number system of the mathematical meaning.

    Carrier      Reals for float dtypes; numpy arrays for integers and bools
    Domain       log of a nonpositive, sqrt of a negative, division by zero, NaN: DomainError
    Comparison   exact; between balls at a precision that rises to `limit` bits, then Undecided
    Casts        the identity between float dtypes; `round_to` rounds

    precision    working precision of the balls, in bits
    """

    name = "real"
    zero: float = 0.0
    one: float = 1.0

    def __init__(self, precision: int = 128, limit: int = 8192) -> None:
        self.precision, self.limit = precision, limit

    # sources

    def constant(self, array: NDArray[Any]) -> Value:
        array = np.asarray(array)
        if kind_of(array.dtype) != "float":
            return array
        flat = [_number(v) for v in array.astype(np.float64).ravel().tolist()]
        return Reals(objects(flat, array.shape), array.dtype.name)

    def literal(self, x: float | int | bool, like: Value) -> Value:
        return self.constant(literal_array(x, like.dtype))

    def exactly(self, values: Objects, dtype: AnyDType = "float32") -> Reals:
        """An array of exact rationals (fmpq, Fraction or int) that need not be floats."""
        flat = [flint.fmpq(int(v.numerator), int(v.denominator)) for v in np.asarray(values, object).ravel().tolist()]
        return Reals(objects(flat, np.shape(values)), name_of(dtype))

    def shape(self, x: Value) -> tuple[int, ...]:
        return tuple(x.shape)

    def dtype(self, x: Value) -> str:
        return x.dtype if isinstance(x, Reals) else x.dtype.name

    # how inexact values remember their origin

    def _made(self, values: Any, dtype: str, method: str, *args: Any, **kwargs: Any) -> Reals:
        values = np.asarray(values, object)
        return Reals(values, dtype, (method, args, kwargs) if _inexact(values) else None)

    def refined(self, x: Value, precision: int) -> Value:
        """The same value, its balls recomputed at another precision. Iterative: graphs may be deep."""
        system, done = Real(precision, self.limit), dict[int, Any]()
        stack: list[Any] = [x]
        while stack:
            top = stack[-1]
            if id(top) in done or not isinstance(top, Reals) or top.again is None:
                done[id(top)] = top
                stack.pop()
                continue
            method, args, kwargs = top.again
            waiting = [a for a in _leaves(args) if isinstance(a, Reals) and a.again is not None and id(a) not in done]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            done[id(top)] = getattr(system, method)(*_replaced(args, done), **kwargs)
        result: Value = done[id(x)]
        return result

    # elementwise

    def _pair(self, x: Operand, y: Operand) -> tuple[Any, Any]:
        if isinstance(x, Reals) and not isinstance(y, Reals):
            return x, self.constant(literal_array(y, x.dtype))  # type: ignore[arg-type]
        if isinstance(y, Reals) and not isinstance(x, Reals):
            return self.constant(literal_array(x, y.dtype)), y  # type: ignore[arg-type]
        if not isinstance(x, Reals) and not isinstance(x, np.ndarray) and not isinstance(y, np.ndarray):
            return self.constant(np.asarray(x, np.float32)), self.constant(np.asarray(y, np.float32))
        return x, y

    def _binary(self, name: str, first: Operand, second: Operand, f: Callable[[Any, Any], Any]) -> Value:
        x, y = self._pair(first, second)
        if not isinstance(x, Reals):
            result: NDArray[Any] = getattr(_INTEGERS, name)(x, y)
            return result
        with flint.ctx.workprec(self.precision):
            values = np.frompyfunc(lambda a, b: _checked(f(a, b), name), 2, 1)(x.values, y.values)
            return self._made(values, x.dtype, name, x, y)

    def _unary(self, name: str, x: Value, f: Callable[[Any], Any]) -> Value:
        if not isinstance(x, Reals):
            result: NDArray[Any] = getattr(_INTEGERS, name)(x)
            return result
        with flint.ctx.workprec(self.precision):
            return self._made(np.frompyfunc(lambda a: _checked(f(a), name), 1, 1)(x.values), x.dtype, name, x)

    def add(self, x: Operand, y: Operand) -> Value:
        return self._binary("add", x, y, lambda a, b: a + b)

    def sub(self, x: Operand, y: Operand) -> Value:
        return self._binary("sub", x, y, lambda a, b: a - b)

    def mul(self, x: Operand, y: Operand) -> Value:
        return self._binary("mul", x, y, lambda a, b: a * b)

    def div(self, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        if isinstance(y, Reals):
            self._outside(self.equal(y, 0.0), "div", "a divisor other than 0")
            y = self._sharp(y, lambda v: not (is_ball(v) and v.contains(0)), "div")
        return self._binary("div", x, y, lambda a, b: a / b)

    def neg(self, x: Value) -> Value:
        return self._unary("neg", x, lambda a: -a)

    def abs(self, x: Value) -> Value:
        return self._unary("abs", x, abs)

    def sqrt(self, x: Value) -> Value:
        if isinstance(x, Reals):
            self._outside(self.less(x, 0.0), "sqrt", "an operand that is not negative")
        return self._unary("sqrt", x, _sqrt)

    def maximum(self, x: Operand, y: Operand) -> Value:
        return self._binary("maximum", x, y, _larger)

    def minimum(self, x: Operand, y: Operand) -> Value:
        return self._binary("minimum", x, y, lambda a, b: -_larger(-a, -b))

    def floor(self, x: Value) -> Value:
        return self._whole("floor", x, _floor)

    def round(self, x: Value) -> Value:
        return self._whole("round", x, _round)

    def _whole(self, name: str, x: Value, f: Callable[[flint.fmpq], Any]) -> Value:
        """A step function: decided where both ends of the ball give one number."""
        if not isinstance(x, Reals):
            return x

        def decided(v: Any) -> bool:
            return not is_ball(v) or not v.is_finite() or f(_end(v.lower())) == f(_end(v.upper()))

        x = self._sharp(x, decided, name)

        def step(v: Any) -> Any:
            return f(_end(v.lower()) if is_ball(v) else v) if not is_ball(v) or v.is_finite() else v

        return Reals(np.asarray(np.frompyfunc(step, 1, 1)(x.values), object), x.dtype)

    def cast(self, x: Value, dtype: AnyDType) -> Value:
        """The identity between float dtypes. To an integer: toward zero, then clamped to the range."""
        name, kind = name_of(dtype), kind_of(dtype)
        if not isinstance(x, Reals):
            if kind != "float":
                return cast_array(x, dtype)
            return Reals(objects([flint.fmpq(int(v)) for v in x.ravel().tolist()], x.shape), name)
        if kind == "float":
            return Reals(x.values, name, ("cast", (x, name), {}) if x.again else None)
        if kind == "bool":
            return np.asarray(np.logical_not(self.equal(x, 0.0)))
        low, high = integer_range(dtype)
        truncated = self._whole("cast", x, lambda q: _floor(q) if q >= 0 else -_floor(-q))
        flat = [_clamped(v, low, high) for v in truncated.values.ravel().tolist()]  # type: ignore[union-attr]
        return np.asarray(flat, object).reshape(x.shape).astype(name)

    def round_to(self, x: Value, dtype: AnyDType) -> Value:
        """x rounded to nearest onto the grid of another dtype; integers also clamp.

        Raises   DomainError beyond a grid that has no infinity
        """
        if not isinstance(x, Reals):
            return _INTEGERS.round_to(x, dtype)
        name = name_of(dtype)
        if kind_of(dtype) == "int":
            low, high = integer_range(dtype)
            return self._whole("round_to", x, lambda q: flint.fmpq(_clamped(_round(q), low, high)))
        return self._whole("round_to", x, lambda q: _number(_rounded_once(q, floats.format_of(name))))

    def _compare(
        self, name: str, first: Operand, second: Operand, test: Callable[[Any, Any], bool | None]
    ) -> NDArray[Any]:
        """`test` gives None where the balls overlap: then both operands are refined."""
        x, y = self._pair(first, second)
        if not isinstance(x, Reals):
            result: NDArray[Any] = getattr(_INTEGERS, name)(x, y)
            return result
        same, precision = x is y, self.precision
        left, right = x, y
        while True:
            with flint.ctx.workprec(precision):
                answers: Objects = np.asarray(np.frompyfunc(test, 2, 1)(left.values, right.values), dtype=object)
            if same:
                return np.full(answers.shape, name != "less")
            if not any(a is None for a in answers.ravel().tolist()):
                return answers.astype(bool)
            precision *= 2
            if precision > self.limit or (x.again is None and y.again is None):
                raise _undecided(name, self.limit)
            left, right = self.refined(x, precision), self.refined(y, precision)  # type: ignore[assignment]

    def less(self, x: Operand, y: Operand) -> NDArray[Any]:
        return self._compare("less", x, y, _less)

    def less_equal(self, x: Operand, y: Operand) -> NDArray[Any]:
        return self._compare("less_equal", x, y, lambda a, b: _negated(_less(b, a)))

    def equal(self, x: Operand, y: Operand) -> NDArray[Any]:
        return self._compare("equal", x, y, _equal)

    def isnan(self, x: Value) -> NDArray[Any]:
        return np.zeros(x.shape, bool)

    def logical_and(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.logical_and(x, y))

    def logical_or(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.logical_or(x, y))

    def logical_not(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.logical_not(x))

    def where(self, condition: NDArray[Any], first: Operand, second: Operand) -> Value:
        x, y = self._pair(first, second)
        if not isinstance(x, Reals):
            picked: NDArray[Any] = np.where(condition, x, y)
            return picked
        return self._made(np.where(condition, x.values, y.values), x.dtype, "where", condition, x, y)

    def _sharp(self, x: Reals, decided: Callable[[Any], bool], name: str) -> Reals:
        """x at a precision at which every value is `decided`. Raises Undecided."""
        found, precision = x, self.precision
        while not all(decided(v) for v in found.values.ravel().tolist()):
            precision *= 2
            if precision > self.limit or x.again is None:
                raise _undecided(name, self.limit)
            found = self.refined(x, precision)  # type: ignore[assignment]
        return found

    def _outside(self, bad: NDArray[Any], name: str, expected: str) -> None:
        if bad.any():
            raise DomainError(
                f"{name} is not defined here",
                where=name,
                expected=expected,
                got=f"outside at {int(bad.sum())} of {bad.size} elements",
                fix="restrict the inputs, or evaluate in Float to see what IEEE arithmetic gives",
            )

    def _function(self, name: str, x: Value, f: Callable[[flint.arb], flint.arb], exact: dict[int, int]) -> Value:
        """`exact` lists the rational results at rational points; every other point is a ball."""

        def apply(v: Any) -> Any:
            if not is_ball(v) and v.denominator == 1 and int(v.numerator) in exact:
                return flint.fmpq(exact[int(v.numerator)])
            return f(_ball(v))

        return self._unary(name, x, apply)

    def exp(self, x: Value) -> Value:
        return self._function("exp", x, lambda v: v.exp(), {0: 1})

    def log(self, x: Value) -> Value:
        if isinstance(x, Reals):
            self._outside(self.less_equal(x, 0.0), "log", "an operand above 0")
        return self._function("log", x, lambda v: v.log(), {1: 0})

    def tanh(self, x: Value) -> Value:
        return self._function("tanh", x, lambda v: v.tanh(), {0: 0})

    def sigmoid(self, x: Value) -> Value:
        def ball(v: flint.arb) -> flint.arb:
            return flint.fmpq(1, 2) + flint.arb(0) if v == 0 else floats.elementary.FUNCTIONS["sigmoid"].ball(v)

        return self._function("sigmoid", x, ball, {})

    def expm1(self, x: Value) -> Value:
        return self._function("expm1", x, lambda v: v.expm1(), {0: 0})

    def log1p(self, x: Value) -> Value:
        if isinstance(x, Reals):
            self._outside(self.less_equal(x, -1.0), "log1p", "an operand above -1")
        return self._function("log1p", x, lambda v: v.log1p(), {0: 0})

    def sin(self, x: Value) -> Value:
        return self._function("sin", x, lambda v: v.sin(), {0: 0})

    def cos(self, x: Value) -> Value:
        return self._function("cos", x, lambda v: v.cos(), {0: 1})

    def erf(self, x: Value) -> Value:
        return self._function("erf", x, lambda v: v.erf(), {0: 0})

    def softplus(self, x: Value) -> Value:
        def ball(v: flint.arb) -> flint.arb:
            return v.exp().log1p() if v <= 0 else v + (-v).exp().log1p()

        return self._function("softplus", x, ball, {})

    def silu(self, x: Value) -> Value:
        return self._function("silu", x, lambda v: v * floats.elementary.FUNCTIONS["sigmoid"].ball(v), {0: 0})

    def gelu(self, x: Value) -> Value:
        # Not the table's ball: far out it holds a value on the right side only.
        return self._function("gelu", x, lambda v: v * (-v / flint.arb(2).sqrt()).erfc() / 2, {0: 0})

    # folds

    def sum(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        if not isinstance(x, Reals):
            return _INTEGERS.sum(x, axes, keepdims)
        terms, shape = structure.reduced_first(x.values, axes)
        total = objects([flint.fmpq(0)] * int(np.prod(shape, dtype=np.int64)), shape)
        with flint.ctx.workprec(self.precision):
            for term in terms:
                total = np.asarray(np.add(total, term), object)
            total = np.asarray(np.frompyfunc(lambda v: _checked(v, "sum"), 1, 1)(total), object)
        return self._made(structure.restored(total, x.shape, axes, keepdims), x.dtype, "sum", x, tuple(axes), keepdims)

    def max(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        if not isinstance(x, Reals):
            return _INTEGERS.max(x, axes, keepdims)
        terms, _ = structure.reduced_first(x.values, axes)
        structure.nonempty(len(terms), "max")
        largest = terms[0]
        with flint.ctx.workprec(self.precision):
            for term in terms[1:]:
                largest = np.asarray(np.frompyfunc(_larger, 2, 1)(largest, term), object)
        largest = structure.restored(np.asarray(largest, object), x.shape, axes, keepdims)
        return self._made(largest, x.dtype, "max", x, tuple(axes), keepdims)

    def argmax(self, x: Value, axis: int) -> NDArray[Any]:
        """The first position of the largest value, int64."""
        structure.nonempty(x.shape[axis], "argmax")
        if not isinstance(x, Reals):
            return _INTEGERS.argmax(x, axis)
        best = np.zeros(x.shape[:axis] + x.shape[axis:][1:], np.int64)
        terms = [self._indexed(x, axis, i) for i in range(x.shape[axis])]
        largest: Value = terms[0]
        for i, term in enumerate(terms[1:], start=1):
            wins = self.less(largest, term)
            best = np.where(wins, i, best)
            largest = self.where(wins, term, largest)
        return best

    def dot(self, x: Value, w: Value) -> Value:
        """Shapes   x: [*s, m, k], w: [*s, n, k] -> [*s, m, n]. By rational matrices, whose rows share denominators."""
        if not isinstance(x, Reals) or not isinstance(w, Reals):
            return _INTEGERS.dot(x, w)  # type: ignore[arg-type]
        lead = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        m, n, depth = x.shape[-2], w.shape[-2], x.shape[-1]
        xs, ws = np.broadcast_to(x.values, (*lead, m, depth)), np.broadcast_to(w.values, (*lead, n, depth))
        out = np.empty((*lead, m, n), object)
        with flint.ctx.workprec(self.precision):
            for i in np.ndindex(*lead):
                out[i] = _matmul(xs[i], ws[i])
        return self._made(out, x.dtype, "dot", x, w)

    # structure

    def _move(self, name: str, x: Value, move: Callable[[NDArray[Any]], NDArray[Any]], *args: Any) -> Value:
        if not isinstance(x, Reals):
            return move(x)
        return Reals(move(x.values), x.dtype, (name, (x, *args), {}) if x.again else None)

    def _indexed(self, x: Value, axis: int, i: int) -> Value:
        return self._move("_indexed", x, lambda a: np.asarray(np.take(a, i, axis=axis)), axis, i)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        return self._move("reshape", x, lambda a: np.reshape(a, tuple(shape)), shape)

    def permute(self, x: Value, axes: Sequence[int]) -> Value:
        return self._move("permute", x, lambda a: structure.permute(a, axes), axes)

    def broadcast(self, x: Value, shape: Sequence[int]) -> Value:
        return self._move("broadcast", x, lambda a: np.broadcast_to(a, tuple(shape)), shape)

    def slice(self, x: Value, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Value:
        return self._move("slice", x, lambda a: structure.slice_axes(a, starts, stops, steps), starts, stops, steps)

    def concat(self, xs: Sequence[Value], axis: int) -> Value:
        parts = [x.values if isinstance(x, Reals) else x for x in xs]
        joined = np.concatenate(parts, axis=axis)
        if not isinstance(xs[0], Reals):
            return joined
        return self._made(joined, xs[0].dtype, "concat", tuple(xs), axis)

    def _filling(self, x: Value, value: float) -> Any:
        filling = literal_array(value, x.dtype)
        return _number(float(filling)) if isinstance(x, Reals) else filling

    def pad(self, x: Value, low: Sequence[int], high: Sequence[int], value: float) -> Value:
        filling = self._filling(x, value)
        return self._move("pad", x, lambda a: structure.pad(a, low, high, filling), low, high, value)

    def gather(self, x: Value, indices: NDArray[Any], axis: int) -> Value:
        found = structure.indices_within(indices, x.shape[axis], "gather")
        return self._move("gather", x, lambda a: structure.gather(a, found, axis), found, axis)

    def scatter_add(self, x: Value, indices: NDArray[Any], axis: int, size: int) -> Value:
        if not isinstance(x, Reals):
            return _INTEGERS.scatter_add(x, indices, axis, size)
        found = structure.indices_within(indices, size, "scatter_add").ravel()
        before, after = x.shape[:axis], x.shape[axis + np.ndim(indices) :]
        terms = np.moveaxis(x.values.reshape(*before, len(found), *after), axis, 0)
        out = np.empty((size, *before, *after), object)
        out[...] = flint.fmpq(0)
        with flint.ctx.workprec(self.precision):
            for place, term in zip(found.tolist(), terms, strict=True):
                out[place] = np.add(out[place], term)
        return self._made(np.moveaxis(out, 0, axis), x.dtype, "scatter_add", x, indices, axis, size)

    def windows(
        self,
        x: Value,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        low: Sequence[int],
        high: Sequence[int],
        value: float,
    ) -> Value:
        filling = self._filling(x, value)
        return self._move(
            "windows", x, lambda a: structure.windows(a, kernel, stride, dilation, low, high, filling),
            kernel, stride, dilation, low, high, value,
        )  # fmt: skip


def _leaves(args: Any) -> list[Any]:
    return [leaf for a in args for leaf in (_leaves(a) if isinstance(a, tuple) else [a])]


def _replaced(args: tuple[Any, ...], done: dict[int, Any]) -> tuple[Any, ...]:
    return tuple(_replaced(a, done) if isinstance(a, tuple) else done.get(id(a), a) if isinstance(a, Reals) else a
                 for a in args)  # fmt: skip


def _undecided(name: str, limit: int) -> Undecided:
    return Undecided(
        "a comparison of real numbers stays undecided",
        where=name,
        expected=f"values that differ within {limit} bits",
        got="two enclosures that still overlap: the values may be equal",
        fix="move the input off the boundary, or raise Real(limit=...)",
    )


def _end(x: flint.arb) -> flint.fmpq:
    mantissa, exponent = (int(v) for v in x.man_exp())
    return flint.fmpq(mantissa << exponent) if exponent >= 0 else flint.fmpq(mantissa, 1 << -exponent)


def _less(a: Any, b: Any) -> bool | None:
    if not is_ball(a) and not is_ball(b):
        return bool(a < b)
    x, y = _ball(a), _ball(b)
    if x < y:
        return True
    return False if x >= y else None


def _equal(a: Any, b: Any) -> bool | None:
    if not is_ball(a) and not is_ball(b):
        return bool(a == b)
    x, y = _ball(a), _ball(b)
    if x == y:
        return True
    return False if not x.overlaps(y) else None


def _negated(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _larger(a: Any, b: Any) -> Any:
    """The larger; of two balls that overlap, the ball of the maximum."""
    decided = _less(a, b)
    if decided is None:
        return _ball(a).max(_ball(b))
    return b if decided else a


def _sqrt(x: Any) -> Any:
    if is_ball(x):
        return x.nonnegative_part().sqrt()  # its value is known to be nonnegative; its radius may reach below
    p, q = int(x.numerator), int(x.denominator)
    if isqrt(p) ** 2 == p and isqrt(q) ** 2 == q:
        return flint.fmpq(isqrt(p), isqrt(q))
    return flint.arb(x).sqrt()


def _floor(x: flint.fmpq) -> flint.fmpq:
    return flint.fmpq(int(x.numerator) // int(x.denominator))


def _round(x: flint.fmpq) -> flint.fmpq:
    """Nearest whole number, ties to even."""
    p, q = int(x.numerator), int(x.denominator)
    below, rest = divmod(p, q)
    return flint.fmpq(below + (2 * rest > q or (2 * rest == q and below % 2 == 1)))


def _clamped(x: Any, low: int, high: int) -> int:
    if is_ball(x):  # infinite
        return high if x > 0 else low
    return max(low, min(high, int(x.numerator) // int(x.denominator)))


def _matmul(x: Objects, w: Objects) -> Objects:
    """Shapes   x: [m, k], w: [n, k] -> [m, n]"""
    m, n, depth = x.shape[0], w.shape[0], x.shape[1]
    if m * n * depth == 0:
        return objects([flint.fmpq(0)] * (m * n), (m, n))
    flat_x, flat_w = x.ravel().tolist(), w.T.ravel().tolist()
    if any(map(is_ball, flat_x)) or any(map(is_ball, flat_w)):
        product = flint.arb_mat(m, depth, flat_x) * flint.arb_mat(depth, n, flat_w)
        return objects([_checked(v, "dot") for v in product.entries()], (m, n))
    return objects((flint.fmpq_mat(m, depth, flat_x) * flint.fmpq_mat(depth, n, flat_w)).entries(), (m, n))
