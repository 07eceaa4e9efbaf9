"""Random damage, and kills at random moments: no lie, no dead guard, no lost word."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from storage_samples import finished, python

from storage.folder import DataFolder, open_stores
from storage.trades import TradeStore

# A guard that starts upon a folder that was damaged, in a process of its own,
# because some damage would kill it: it says what it found, seed by seed.
GUARD = """
import json, os, random, shutil, sys; from pathlib import Path
from storage_samples import T0, action, alert, trade
from defence.errors import DtmsError
from storage.backups import take
from storage.folder import ENVIRONMENTS, DataFolder, open_stores
from storage.layout import DATA_FILE
from storage.trades import Batch

base, kind, seeds = Path(sys.argv[1]), sys.argv[2], range(int(sys.argv[3]))
backed_up = sys.argv[4] == "backed up"
folder = DataFolder(base / "whole")
stores = open_stores(folder, T0)
stores.trades.bind(77, "Demo")
for number in range(60):
    stores.trades.commit(Batch(trades=[trade(number)],
        archived=[trade(number, closed_at=T0 + number)] if number % 3 == 0 else [],
        actions=[action(f"a{number}", at=T0 + number, ticket=number % 5, detail="x" * 150)]))
    stores.ledger.add("monitor", T0 + number)

def look(stores):
    return (stores.trades.load(), stores.trades.actions(1000), stores.trades.archived(1000),
        [stores.trades.actions(1000, ticket=t) for t in range(5)], stores.trades.account())

truth, charges, sequence = look(stores), stores.ledger.charges("monitor"), stores.trades.sequence()
stores.trades.commit(Batch())  # the newest commit changes nothing but the sequence
stores.close()
if backed_up:
    take(folder.backups, [folder.path / name for name in ENVIRONMENTS], T0)

for seed in seeds:
    rng = random.Random(f"{kind}{seed}")
    path = base / f"{kind}{seed}"
    shutil.copytree(base / "whole", path)
    data = path / "trades" / DATA_FILE
    content = bytearray(data.read_bytes())
    if kind == "flip":
        for _ in range(rng.choice((1, 4, 64))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[rng.randrange(len(content)):]
    elif kind == "zero":
        at = rng.randrange(len(content)); end = min(len(content), at + 4096)
        content[at:end] = bytes(end - at)
    elif kind == "swap":
        one, two = rng.sample(range(len(content) // 4096), 2)
        a, b = slice(one * 4096, one * 4096 + 4096), slice(two * 4096, two * 4096 + 4096)
        content[a], content[b] = content[b], content[a]
    elif kind == "noise":
        at = rng.randrange(len(content)); end = min(len(content), at + 512)
        content[at:end] = rng.randbytes(end - at)
    data.write_bytes(content)
    folder = DataFolder(path)
    stores = open_stores(folder, T0)
    swaps = [swap for _, swap in folder.untold()]
    aside = [swap.name for swap in swaps]
    seen = look(stores)
    kept = all(bytes(content) == (path / swap.aside / DATA_FILE).read_bytes() for swap in swaps)
    back = [swap.missing == 0 for swap in swaps]
    print(json.dumps({"seed": seed, "aside": aside, "true": seen == truth, "kept": kept,
        "why": [swap.why for swap in swaps], "nothing missing": back,
        "account": stores.trades.account() == (77, "Demo"),
        "ledger": stores.ledger.charges("monitor") == charges}), flush=True)
    stores.trades.commit(Batch(trades=[trade(999)]))
    stores.close()
    shutil.rmtree(path)
print("alive", flush=True)
"""


@pytest.mark.parametrize("backups", ["none", "backed up"])
@pytest.mark.parametrize("kind", ["flip", "cut", "zero", "swap", "noise"])
def test_random_damage_is_set_aside_or_harmless(tmp_path: Path, kind: str, backups: str) -> None:
    code, out, err = finished(python(GUARD, tmp_path, kind, 7, backups))
    assert (code, err) == (0, "")
    *lines, last = out.splitlines()
    assert last == "alive"
    found = [json.loads(line) for line in lines]
    assert len(found) == 7
    for each in found:
        assert each["aside"] in ([], ["trades"]), each
        assert each["ledger"], each
        assert each["account"], each
        assert each["kept"], each
        # what is not set aside reads as it was written
        assert each["aside"] or each["true"], each
        if backups == "backed up" and each["aside"]:
            assert each["true"], each
            assert each["nothing missing"] == [True], each
    if kind != "flip":  # most flips hit free pages
        assert any(each["aside"] for each in found)


WRITER = """
import sys; from pathlib import Path
from storage_samples import T0, action, intent, trade
from defence.orders import Outcome, OutcomeKind, PendingIntent
from storage.trades import Batch, TradeStore
store = TradeStore.open(Path(sys.argv[1]), map_size=128 * 1024)
first = int(sys.argv[2])
number = first
while True:
    batches = [Batch(trades=[trade(n, managed_by="x" * 400)],
        actions=[action(f"a{n}", at=T0 + n)],
        intents=[PendingIntent(intent=intent(f"i{n}"))],
        outcomes=[Outcome(intent_id=f"i{n - 1}", kind=OutcomeKind.DONE, at=T0)])
        for n in range(number, number + 3)]
    store.commit(*batches)
    number += 3
    print(number - 1, flush=True)  # acknowledged up to here
"""


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "trades"
    rng = random.Random(5)
    acknowledged = -1
    for _ in range(6):
        child = python(WRITER, path, acknowledged + 1)
        assert child.stdout is not None
        assert child.stdout.readline(), child.communicate()[1]
        time.sleep(rng.uniform(0.0, 0.15))  # the random moment itself
        child.kill()
        out, _ = child.communicate(timeout=10)
        lines = out.split(b"\n")[:-1]  # the last line may be cut
        acknowledged = max([acknowledged + 3, *map(int, lines)])
        store = TradeStore.open(path)
        trades, pending = store.load()
        assert set(range(acknowledged + 1)) <= set(trades)
        # whole commits or none: three trades, and their actions and intents with them
        assert len(trades) % 3 == 0
        assert {action.id for action in store.actions(10**6)} == {
            *(f"a{number}" for number in trades),
            *(f"i{number}" for number in trades if f"i{number}" not in pending),
        }
        assert store.sequence() * 3 == len(trades)
        store.close()
        acknowledged = max(trades)


def test_a_kill_leaves_a_folder_that_starts(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    open_stores(folder, 1.0).close()
    for _ in range(3):
        child = python(WRITER, folder.path / "trades", 0)
        assert child.stdout is not None
        assert child.stdout.readline(), child.communicate()[1]
        child.kill()
        child.communicate(timeout=10)
        stores = open_stores(DataFolder(folder.path), 1.0)
        assert folder.untold() == []
        assert stores.trades.load()[0]
        stores.close()


STARTER = """
import sys; from pathlib import Path
from storage.folder import DataFolder, open_stores
print("begun", flush=True)
stores = open_stores(DataFolder(Path(sys.argv[1])), 1.0)
stores.trades.bind(77, "Demo")
stores.close()
"""


def test_a_kill_while_starting_leaves_a_folder_that_starts(tmp_path: Path) -> None:
    rng = random.Random(7)
    for number in range(6):
        path = tmp_path / f"data{number}"
        child = python(STARTER, path)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.12))  # the random moment itself
        child.kill()
        child.communicate(timeout=10)
        stores = open_stores(DataFolder(path), 1.0)
        stores.trades.bind(77, "Demo")
        stores.close()
        again = open_stores(DataFolder(path), 1.0)
        assert DataFolder(path).untold() == []
        assert again.trades.account() == (77, "Demo")
        again.close()
