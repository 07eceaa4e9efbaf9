"""A weather station under supervision. Run: python -m examples.supervised_program"""

import time

from loguru import logger

from actors.actor import GuardActor
from supervisors import Backoff, ChildSpec, RememberingOwner, Restart, Supervisor
from supervisors.owner import Escalated, RootSettings


class Sensor(GuardActor):
    """Measures. A storm shakes it to death, and ice makes it hang, once."""

    def receive(self, message: object) -> object:
        if message == "measure":
            self.tell("archive", f"reading by life {self.context.incarnation}")
        elif message == "shake":
            raise RuntimeError("shaken")
        elif message == "freeze" and self.context.incarnation == 1:
            time.sleep(1.0)  # longer than it may handle one message: it is fenced and replaced
        return self.context.incarnation


class Archive(GuardActor):
    """Keeps what the others say."""

    kept: list[str] = []  # noqa: RUF012 - a store outlives the actor that writes to it

    def receive(self, message: object) -> object:
        if message != "count":
            self.kept.append(str(message))
        return len(self.kept)


def main() -> None:
    """Start in order, suffer, say what became of everybody, stop in reverse."""
    logger.disable("actors")  # its sinks are the program's; here the events are enough
    owner = RememberingOwner()
    specs = [
        ChildSpec(name="archive", factory=Archive),
        ChildSpec(name="wind", factory=Sensor, max_restarts=2, backoff=Backoff(first=0.05)),
        ChildSpec(name="rain", factory=Sensor, hang_after=0.2, restart=Restart.TRANSIENT),
    ]
    with Supervisor(specs, owner=owner, settings=RootSettings(check_every=0.05)) as tree:
        tree.events.listen(lambda event: print(f"{event.line()}\n", end=""))
        for number in range(12):
            tree.tell("wind", "shake" if number % 4 == 3 else "measure")
        tree.tell("rain", "freeze")
        print(f"rain answers as life {tree.ask('rain', 'measure', timeout=5.0)}")
        tree.runtime.wait_until(lambda: tree.states()["wind"] == "escalated", 5.0)
        print(f"archived {tree.ask('archive', 'count', timeout=5.0)} of 10 readings")
        for fact in owner.facts:
            if isinstance(fact, Escalated):
                print(f"{fact.child} is down: {fact.why}")


if __name__ == "__main__":
    main()
