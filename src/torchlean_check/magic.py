"""The first bytes of each kind of certificate file: what tells them apart before anything is loaded to read them."""

TREE = b"TLCERT1\n"
ROUNDING = b"TLROUND1\n"
