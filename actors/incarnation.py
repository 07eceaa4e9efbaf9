"""One life of a child, stepped by either runtime; every way to die is one report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from actors.actor import Context, Forwarded, GuardActor, Promised
from actors.batons import Abandoned
from actors.events import Kind
from actors.life import Answer, ExitReport, Hang, Kill, Poison, Stop
from actors.log import words_of
from actors.mailbox import End, Lane, Letter
from actors.points import Killed
from actors.poisoning import condemn
from actors.post import here
from defence.errors import DtmsError, Fault, StartRefused


class Step(StrEnum):
    """What one step came to."""

    WORKED = "worked"
    IDLE = "idle"
    DONE = "done"  # dead, stopped or fenced: never step it again


WORKED: Final = Step.WORKED  # an enum's member costs several times a global's look-up
IDLE: Final = Step.IDLE
DONE: Final = Step.DONE
OF_LIFE: Final = frozenset({Answer, Stop, Kill, Hang})
ELSEWHERE: Final = frozenset({Forwarded, Promised})  # what is answered by somebody else


class Incarnation:
    """An actor, the number of its life, and the step that both runtimes call."""

    def __init__(self, actor: GuardActor, report: Callable[[ExitReport], None]) -> None:
        self.actor = actor
        self.context: Context = actor.context
        self.name = self.context.name
        self.number = self.context.incarnation
        self.done = False
        self.hung = False  # simulated runtime only: abandoned in mid-handler
        self._box = self.context.mailbox
        self._monotonic = self.context.runtime.clock.monotonic
        self._before_reply = f"{self.name}.before_reply"
        self._handing_over = f"{self.name}.handing_over"
        self._report = report
        self._reported = threading.Lock()  # held for good by whoever reports first
        self.begun = False
        self.handled = ""  # the type of the newest message, for traces

    def step(self) -> Step:
        """Do one thing: start, or handle one letter or batch. Never raises."""
        if self.done:
            return DONE
        vitals = self.context.vitals
        letters: list[Letter] = []
        vitals.busy_since = self._monotonic()
        try:
            before, here.child = getattr(here, "child", None), self.name
            try:
                if not self.begun:
                    if not self._box.held_by(self.number):
                        self.done = True  # fenced before its first step: it never lived
                        return DONE
                    self._begin()
                    return WORKED
                letters = self._box.take(self.number, self.actor.batch_limit)
                if not letters:
                    return IDLE
                vitals.busy_with = self.handled = type(letters[0].message).__name__
                return self._handle(letters)
            finally:
                here.child = before
        except Abandoned:
            self.hung = True
            return DONE
        except BaseException as error:  # noqa: BLE001 - TRAPS 1 to 4: every way to die is one report
            self._die(error, letters)
            return DONE
        finally:
            if not self.hung:
                vitals.busy_since = None
                vitals.busy_with = ""

    def claim_report(self) -> bool:
        """Claim the right to report this incarnation's end; True for the first claim only."""
        return self._reported.acquire(blocking=False)

    # -- inside a step

    def _begin(self) -> None:
        self.begun = True
        self.context.points.reach(f"{self.name}.on_start")
        self.actor.on_start()
        if self.actor.ready_on_start:
            self.actor.ready()

    def _handle(self, letters: list[Letter]) -> Step:
        if len(letters) != 1:
            return self._handle_batch(letters)
        letter = letters[0]
        message = letter.message
        if type(message) in OF_LIFE:
            return self._handle_life(letter)
        self.actor.letter = letter
        try:
            if self.actor.batch_limit > 1 and letter.lane is Lane.DATA:
                value = self.actor.receive_batch([letter])[0]
            else:
                value = self.actor.receive(message)
        except DtmsError as error:
            refuses_start = isinstance(error, StartRefused) and not self.context.vitals.ready
            if isinstance(error, Fault) or refuses_start:
                raise
            value = error  # an expected refusal is an answer, not a crash (TRAPS 5)
        finally:
            self.actor.letter = None
        self.context.points.reach(self._before_reply)
        return WORKED if self._settle(letter, value) else DONE

    def _handle_life(self, letter: Letter) -> Step:
        """Handle what every actor understands, because this class does it."""
        message = letter.message
        if isinstance(message, Answer):
            return self._take_answer(letter, message)
        if isinstance(message, Stop):
            if message.incarnation not in (None, self.number):
                return self._dead_letter(letter, message.incarnation)
            return self._stop(letter)
        self._settle(letter, True)
        if isinstance(message, Kill):
            raise Killed(message.reason)
        self.context.runtime.hang(message.seconds)
        return WORKED

    def _handle_batch(self, letters: Sequence[Letter]) -> Step:
        try:
            values = self.actor.receive_batch(letters)
        except Exception:  # noqa: BLE001 - any failure of a batch is tried singly
            # One bad letter must not take the others with it: the same letters
            # again, one by one, in this same incarnation. Then it is alone.
            self.context.mailbox.give_back(self.number)
            return WORKED
        for _ in letters:
            self.context.points.reach(self._before_reply)
        return WORKED if self._settle_batch(letters, values) else DONE

    def _take_answer(self, letter: Letter, answer: Answer) -> Step:
        if answer.incarnation != self.number:
            return self._dead_letter(letter, answer.incarnation)
        self.actor.letter = letter
        try:
            self.actor.on_answer(answer)
        finally:
            self.actor.letter = None
        return WORKED if self._settle(letter, None) else DONE

    def _dead_letter(self, letter: Letter, meant_for: int | None) -> Step:
        """Set aside what was meant for another incarnation."""
        self.context.events.publish(
            Kind.DEAD_LETTER,
            self.name,
            self.number,
            message=type(letter.message).__name__,
            why=f"for #{meant_for}",
        )
        self.context.mailbox.settle(letter, self.number, end=End.DEAD)
        return WORKED

    def _settle_batch(self, letters: Sequence[Letter], values: Sequence[object]) -> bool:
        """End the letters of a batch: those with a plain answer, or one other child, as one."""
        answered: list[tuple[Letter, object]] = []
        moved: dict[tuple[str, Lane], list[tuple[Letter, object]]] = {}
        for letter, value in zip(letters, values, strict=True):
            if isinstance(value, Forwarded) and not value.sticky:
                moved.setdefault((value.to, value.lane), []).append((letter, value.message))
            elif (
                letter.reply_to is None
                or letter.answer_to is not None
                or isinstance(value, Forwarded | Promised)
            ):
                if not self._settle(letter, value):
                    return False
            else:
                answered.append((letter, value))
        if answered and not self.context.mailbox.settle_many(answered, self.number):
            return False
        return all(self._pass_on(to, lane, pairs) for (to, lane), pairs in moved.items())

    def _pass_on(self, to: str, lane: Lane, pairs: Sequence[tuple[Letter, object]]) -> bool:
        """Hand letters in hand on to another child, which will answer their askers."""
        # New letters: what this child did with the old ones is nothing to the other.
        letters = [
            Letter(
                message,
                id=letter.id,
                lane=lane,
                reply_to=letter.reply_to,
                answer_to=letter.answer_to,
                deadline=letter.deadline,
            )
            for letter, message in pairs
        ]
        self.context.points.reach(self._handing_over)
        # Nothing comes between these two: a letter that is settled here and
        # accepted nowhere would leave its asker without an answer.
        if not self.context.mailbox.hand_over([letter for letter, _ in pairs], self.number):
            return False
        self.context.post.pass_on(to, letters)
        for letter, _ in pairs:
            letter.passed_on = True
        return True

    def _settle(self, letter: Letter, value: object) -> bool:
        """End a letter and see that its asker, future or actor, gets the answer."""
        failed = isinstance(value, BaseException)
        if not failed and letter.answer_to is None and type(value) not in ELSEWHERE:
            return self._box.settle(letter, self.number, value=value)
        error = value if isinstance(value, BaseException) else None
        box, post = self.context.mailbox, self.context.post
        if isinstance(value, Promised):
            # Not `settle`: until it says yes, the asker may be a successor's to answer.
            if not box.hand_over((letter,), self.number):
                return False
            owed, letter.reply_to = letter.reply_to, None
            value.start(owed)
            return True
        if isinstance(value, Forwarded) and not value.sticky:
            return self._pass_on(value.to, value.lane, [(letter, value.message)])
        if isinstance(value, Forwarded):
            if not box.hand_over((letter,), self.number):
                return False
            reply_to, letter.reply_to = letter.reply_to, None
            post.send(
                value.to,
                value.message,
                lane=value.lane,
                reply_to=reply_to,
                answer_to=letter.answer_to,
                sticky=True,  # a standing order has no deadline
                id=letter.id,
            )
            return True
        if not box.settle(letter, self.number, value=value, error=error):
            return False
        if error is not None and letter.reply_to is None and letter.answer_to is None:
            self.context.log.warning("{} was refused: {}", type(letter.message).__name__, error)
        if letter.answer_to is not None:
            back = letter.answer_to
            answer = Answer(
                request_id=back.request_id,
                incarnation=back.incarnation,
                child=self.name,
                value=None if error else value,
                error=error,
            )
            post.send(back.child, answer)
        return True

    def _stop(self, letter: Letter) -> Step:
        try:
            self.context.points.reach(f"{self.name}.on_stop")
            self.actor.on_stop()
        finally:
            self._settle(letter, True)
        self.done = True
        if self.claim_report():
            self._report(ExitReport(self.name, self.number, "stopped", "", normal=True))
        return DONE

    # -- death

    def _die(self, error: BaseException, letters: Sequence[Letter]) -> None:
        self.done = True
        if not self.claim_report():
            return  # fenced: the supervisor has said so already
        killed = isinstance(error, Killed)
        how = "killed" if killed else ("crashed" if letters else "failed to start")
        text, poison = "", None
        try:
            text = str(error) if killed else words_of(error)
            if not killed:
                poison = self._blame(text, letters)
            if killed:
                self.context.log.warning("killed: {}", text)
            elif isinstance(error, StartRefused):
                self.context.log.error("refused: {}", error)  # expected: its text says all
            else:
                self.context.log.opt(exception=error).error("died: {}", text)
        finally:  # whatever a host's log handler raises, the supervisor hears of the death
            self._report(ExitReport(self.name, self.number, how, text, cause=error, poison=poison))

    def _blame(self, error: str, letters: Sequence[Letter]) -> Poison | None:
        """Find the culprit: a letter that crashes its handler again, alone, is poison."""
        in_hand = [one for one in letters if self._still_mine(one)]
        suspect = in_hand[0] if len(in_hand) == 1 else self.actor.letter
        if suspect is None:
            for one in in_hand:  # a batch died as a whole: the successor takes them singly
                one.alone = True
            return None
        suspect.crashes += 1
        suspect.alone = True
        if suspect.crashes < 2:
            return None
        events, at = self.context.events, self.context.runtime.clock.wall()
        poison = condemn(suspect, self.name, self.number, error, events, at)
        text = f"{self.name} crashed twice on this message: {error}"
        self._settle(suspect, Fault(text, remedy="report it"))
        return poison

    def _still_mine(self, letter: Letter) -> bool:
        return self.context.mailbox.holds(letter, self.number)
