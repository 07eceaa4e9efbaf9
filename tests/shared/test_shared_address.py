"""The broker's file: who may read it, what it must hold, and how else a broker is named."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defence.errors import DtmsError, Invalid, NotReady
from terminals.shared.address import Address, default_file, find, is_address, read
from terminals.shared.proof import (
    challenge,
    challenged,
    check_welcome,
    greeted,
    hello,
    new_token,
    nonce,
    welcome,
)

TOKEN = "t" * 40


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file with these rights."""
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "::1"):
        address = Address(host, 4242, TOKEN, pid=7)
        assert read(written(tmp_path / "b.json", address.text())) == address
        assert TOKEN not in repr(address)


def test_no_file_is_no_broker_and_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"no broker runs here.*run\.py broker"):
        read(tmp_path / "b.json")


@pytest.mark.skipif(sys.platform == "win32", reason="rights are not in the mode there")
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666, 0o601])
def test_a_file_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "b.json", Address("127.0.0.1", 1, TOKEN).text(), mode)
    with pytest.raises(Invalid, match="can be read by others"):
        read(path)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="no such links there")
def test_a_link_that_somebody_laid_is_not_followed(tmp_path: Path) -> None:
    real = written(tmp_path / "real", Address("127.0.0.1", 1, TOKEN).text())
    (tmp_path / "b.json").symlink_to(real)
    with pytest.raises(Invalid, match="cannot be read"):
        read(tmp_path / "b.json")


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        "text",
        {"address": "127.0.0.1:1"},
        {"address": "127.0.0.1", "token": TOKEN},
        {"address": 5, "token": TOKEN},
        {"address": "127.0.0.1:0", "token": TOKEN},
        {"address": "127.0.0.1:99999", "token": TOKEN},
        {"address": "10.0.0.1:5000", "token": TOKEN},
        {"address": "127.example.com:5000", "token": TOKEN},
        {"address": "127.0.0.1.example.com:5000", "token": TOKEN},
        {"address": "127.0.0.1:1", "token": "short"},
        {"address": "127.0.0.1:1", "token": TOKEN + "\n"},
        {"address": "127.0.0.1:1", "token": 5},
        {"address": "127.0.0.1:1", "token": TOKEN, "pid": "7"},
    ],
)
def test_a_file_that_makes_no_sense(tmp_path: Path, said: Any) -> None:
    with pytest.raises(Invalid) as caught:
        read(written(tmp_path / "b.json", json.dumps(said)))
    assert TOKEN not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_our_own_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "b.json"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(DtmsError):
            read(path)


def test_what_a_text_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("127.0.0.1:4242", TOKEN) == Address("127.0.0.1", 4242, TOKEN)
    assert find("[::1]:4242", TOKEN).host == "::1"
    with pytest.raises(Invalid, match="DTMS_BROKER_TOKEN"):
        find("127.0.0.1:4242")
    with pytest.raises(Invalid, match="not this machine"):
        find("example.com:4242", TOKEN)
    assert not is_address(r"C:\Users\me\broker.json")
    assert not is_address("C:8080")
    path = written(tmp_path / "b.json", Address("127.0.0.1", 1, TOKEN).text())
    assert find(str(path)).port == 1
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert default_file() == tmp_path / "dtms" / "broker.json"
        with pytest.raises(NotReady, match=str(tmp_path)):
            find(None)


def test_a_name_that_leads_to_another_machine_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        """A socket as a hosts file can lead to."""

        closed = False

        def getpeername(self) -> tuple[str, int]:
            return "10.0.0.5", 4242

        def getsockname(self) -> tuple[str, int]:
            return "10.0.0.1", 50_000

        def close(self) -> None:
            self.closed = True

    found = Elsewhere()
    monkeypatch.setattr(socket, "create_connection", lambda *_: found)
    with pytest.raises(OSError, match="not this machine"):
        Address("localhost", 4242, TOKEN).connect(1.0)
    assert found.closed


# -- the proof


def test_both_sides_show_that_they_know_the_token() -> None:
    token, mine, theirs = new_token(), nonce(), nonce()
    assert challenged(challenge(mine)) == mine
    said = hello(token, mine, theirs)
    assert token.encode() not in b"".join(part for part in said if isinstance(part, bytes))
    assert greeted(token, mine, said) == theirs
    check_welcome(token, mine, theirs, welcome(token, mine, theirs))


def test_a_proof_is_good_for_one_connection_one_token_and_one_side() -> None:
    token, mine, theirs = new_token(), nonce(), nonce()
    said = hello(token, mine, theirs)
    with pytest.raises(DtmsError, match="token is not"):
        greeted(new_token(), mine, said)
    with pytest.raises(DtmsError, match="token is not"):
        greeted(token, nonce(), said)  # said again on another connection
    with pytest.raises(DtmsError, match="does not know"):
        check_welcome(token, mine, theirs, said[2])  # the client's own proof, sent back
    with pytest.raises(DtmsError, match="does not know"):
        check_welcome(new_token(), mine, theirs, welcome(token, mine, theirs))
    for wrong in (None, "text", b""):
        with pytest.raises(DtmsError, match="does not know"):
            check_welcome(token, mine, theirs, wrong)


@given(
    st.recursive(
        st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=10),
        lambda inner: st.tuples(inner) | st.tuples(inner, inner, inner, inner, inner),
        max_leaves=8,
    )
)
def test_nonsense_instead_of_a_greeting_is_refused(message: Any) -> None:
    with pytest.raises(DtmsError):
        greeted(TOKEN, nonce(), message)
    with pytest.raises(DtmsError):
        challenged(message)


def test_another_version_is_told() -> None:
    with pytest.raises(Invalid, match="version 3"):
        challenged((0, "challenge", 3, nonce()))
