"""CSV tables, strictly; and the table that ships with the package."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from torchlean import data
from torchlean.errors import DataError, FileError, TorchLeanError

GOOD = b'a,b,name\n1,2.5,"x, y"\n-3e2,.5,z\n\n'


def test_columns_in_the_order_asked() -> None:
    table = data.csv(GOOD, target="a", features=["b"])
    assert table.x.dtype == table.y.dtype == np.float32
    assert table.x.tolist() == [[2.5], [0.5]] and table.y.tolist() == [[1], [-300]]
    assert table.names == ("b",) and table.targets == ("a",) and table.missing == 0
    both = data.csv(b"a,b,c\n1,2,3", target=["c", "a"])
    assert both.names == ("b",) and both.y.tolist() == [[3, 1]]


def test_missing_cells_are_counted_only_where_they_matter() -> None:
    text = b"a,b,c\n1,?,3\n4,5,?\n7,8,9\n"
    assert data.csv(text, target="c", missing="?").missing == 2
    assert data.csv(text, target="c", features=["a"], missing="?").missing == 1


def test_layout(tmp_path: Path) -> None:
    expected = data.csv(b"a,b\n1,2\n", target="b").x
    for text in (b"a,b\r\n1,2", b"\xef\xbb\xbfa , b\n 1 , 2 \n\n", b'"a","b"\n"1","2"\n'):
        assert np.array_equal(data.csv(text, target="b").x, expected)
    assert np.array_equal(data.csv(b"a;b\n1;2\n", target="b", delimiter=";").x, expected)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert np.array_equal(data.csv(tmp_path / "t.csv", target="b").x, expected)


REFUSED = {
    "missing target": (b"a,b\n1,2", "mpg", DataError, "one of: a, b"),
    "text in a number": (b"a,b\n1,2\n3,fast", "b", DataError, "line 3, b"),
    "text in a feature": (b"a,b\n1,2\nfast,3", "b", DataError, "line 3, a"),
    "an empty cell": (b"a,b\n1,2\n,3", "b", DataError, "an empty cell"),
    "nan": (b"a,b\n1,nan", "b", DataError, "line 2, b"),
    "infinity": (b"a,b\n1,inf", "b", DataError, "line 2, b"),
    "beyond float32": (b"a,b\n1,1e39", "b", DataError, "largest float32"),
    "beyond float64": (b"a,b\n1,1e999", "b", DataError, "largest float32"),
    "an underscore": (b"a,b\n1,1_000", "b", DataError, "line 2, b"),
    "a hex number": (b"a,b\n1,0x10", "b", DataError, "line 2, b"),
    "a decimal comma": (b'a,b\n1,"2,5"', "b", DataError, "2,5"),
    "a short row": (b"a,b\n1,2\n3", "b", DataError, "line 3"),
    "a long row": (b"a,b\n1,2,3", "b", DataError, "another number of cells"),
    "a repeated name": (b"a,a\n1,2", "a", DataError, "one name"),
    "header only": (b"a,b\n", "b", DataError, "no complete row"),
    "blank": (b"\n\n", "b", DataError, "no header"),
    "nothing": (b"", "b", DataError, "no header"),
    "an open quote": (b'a,b\n1,"2', "b", DataError, "not CSV"),
    "bytes": (b"a,b\n1,\xff", "b", FileError, "not text"),
    "a null byte": (b"a,b\n1,\0", "b", DataError, "line 2"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_bad_tables_are_refused(title: str) -> None:
    text, target, kind, message = REFUSED[title]
    with pytest.raises(TorchLeanError, match=message) as caught:
        data.csv(text, target=target)
    assert type(caught.value) is kind
    assert all((caught.value.what, caught.value.where, caught.value.expected, caught.value.got, caught.value.fix))


def test_a_missing_feature_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks a column"):
        data.csv(GOOD, target="a", features=["c"])
    with pytest.raises(FileError, match="does not exist"):
        data.csv(tmp_path / "no.csv", target="a")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(FileError, match="is empty"):
        data.csv(tmp_path / "empty.csv", target="a")


def test_all_rows_missing_is_an_error() -> None:
    with pytest.raises(DataError, match="no complete row"):
        data.csv(b"a,b\n1,?\n", target="b", missing="?")


def test_auto_mpg() -> None:
    cars = data.auto_mpg()
    assert cars.x.shape == (392, 7) and cars.y.shape == (392, 1) and cars.missing == 6
    assert cars.x.dtype == cars.y.dtype == np.float32
    assert cars.x[0].tolist() == [8, 307, 130, 3504, 12, 70, 1] and cars.y[0].tolist() == [18]
    assert cars.columns("weight", "displacement", "horsepower") == (3, 1, 2)
    assert cars.x.min(0).tolist() == [3, 68, 46, 1613, 8, 70, 1]
    assert cars.x.max(0).astype(float).round(1).tolist() == [8, 455, 230, 5140, 24.8, 82, 3]
    assert round(float(cars.y.mean(dtype=np.float64)), 3) == 23.446
