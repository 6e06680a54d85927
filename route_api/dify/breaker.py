"""A circuit breaker: while Dify is away, calls fail at once, and no caller waits for a time limit. It also bounds how
many calls run at the same time.

Dify may be away altogether, or fail in one kind of call, for example in searches if its vector database is away. So
each of :data:`KINDS` has a circuit of its own:

- After :data:`FAILURES` failures in a row the circuit opens: calls of this kind are refused. A failed call does not
  count if another one succeeded while it ran, so a search that always times out opens nothing while others succeed.
- While a circuit is open, a thread pings Dify. After :data:`FAILED_PINGS` failed pings in a row calls of every kind are
  refused, until a ping succeeds.
- When a ping has succeeded, one call is let through as a trial. If it succeeds, the circuit closes; if it fails, the
  next trial waits for the next ping. If a trial still runs after :data:`TRIAL_S` seconds, another one may begin.

A call that stops a model has no circuit and takes no place, because it ends another call. It is refused only while Dify
answers no ping.

A call succeeds when the head of Dify's answer arrives, also if that is a refusal. A call that ended because its caller
left is neither a success nor a failure.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from time import monotonic
from typing import NoReturn, Protocol

from ..errors import DifyCircuitOpen, DifyError, TooManyDifyCalls
from ..monitoring import metrics, tracing

log = logging.getLogger(__name__)

KINDS = metrics.DIFY_CALL_KINDS
"""The kinds of calls, by the part of Dify that they need. `read` and `write` need its database, and `write` also its
task queue; `retrieval` the vector database and the embedding model; `chat` a language model; `console` its database,
but through another blueprint and after a login; `file` the storage of files."""

STOP = "stop"
"""What :func:`kind_of` returns for a call that stops a model."""

FAILURES = 5
FAILED_PINGS = 2
PING_INTERVAL_S = 2.0
LOOK_INTERVAL_S = 1.0
"""Seconds after which a worker looks whether another worker has opened a circuit."""

TRIAL_S = 10.0
RETRY_AFTER_S = 2
OUTAGE_STATUSES = (502, 503, 504)
"""A proxy in front of Dify answers these if Dify is away. Dify's own answers have the header X-Version."""


def kind_of(method: str, path: str) -> str:
    """The kind of a call: one of :data:`KINDS`, or :data:`STOP`.

    :param path: the path of the call on Dify's server; a whole address if the call is for another server
    """
    if path.endswith("/stop"):
        return STOP
    if path.endswith("/chat-messages") or path.endswith(("/suggested", "/suggested-questions")):
        return "chat"
    if path.startswith("/console/"):
        return "console"
    if not path.startswith("/v1/"):
        return "file"
    if path.endswith("/retrieve"):
        return "retrieval"
    return "read" if method == "GET" else "write"


class SharedState(Protocol):
    """The open circuits of all workers. No method raises anything, or waits for long."""

    def publish(self, opened: dict[str, str]) -> None:
        """Tell the other workers that these kinds are open: kind → id of this opening."""

    def withdraw(self, kind: str) -> None:
        """Tell them that the kind is closed again."""

    def read(self) -> dict[str, str]:
        """What the workers have published."""


@dataclass(slots=True, eq=False)
class Circuit:
    """The state of one kind of calls.

    :param succeeded_at: when a call succeeded last
    :param opening: the id of the latest opening, here or in another worker; empty if there was none
    :param may_try: whether a ping has succeeded since the circuit opened, and since its last trial failed
    """

    kind: str
    failures: int = 0
    succeeded_at: float = float("-inf")
    is_open: bool = False
    opening: str = ""
    may_try: bool = False
    trial: "Call | None" = None

    def open(self, opening: str) -> None:
        self.is_open, self.may_try, self.opening = True, False, opening

    @property
    def is_half_open(self) -> bool:
        """Whether the circuit is open, but lets the next call through as a trial."""
        return self.is_open and self.may_try and self.trial is None


class Call:
    """A call to Dify that was let through. Tell its outcome, then :meth:`end` it."""

    __slots__ = ("circuit", "begun_at", "_breaker")

    def __init__(self, breaker: "Breaker", circuit: Circuit, begun_at: float) -> None:
        self._breaker = breaker
        self.circuit = circuit
        self.begun_at = begun_at

    def succeeded(self) -> None:
        self._breaker.count_success(self.circuit)

    def failed(self) -> None:
        self._breaker.count_failure(self)

    def end(self) -> None:
        """The call is over, with its body. Further calls of this method do nothing."""
        self._breaker.end(self)


class Breaker:
    """The circuits of one process. All its threads share it."""

    def __init__(
        self,
        ping: Callable[[], None],
        *,
        max_calls: int,
        shared: SharedState | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """
        :param ping: asks Dify whether it answers, and raises a :class:`DifyError` if not; takes a few seconds at most
        :param max_calls: how many calls may run at the same time
        :param shared: None if each worker finds out by itself that Dify is away
        """
        self._ping = ping
        self._max_calls = max_calls
        self._shared = shared
        self._clock = clock
        self._circuits = {kind: Circuit(kind) for kind in KINDS}
        self._failed_pings = 0
        self._running: set[Call] = set()
        self._to_withdraw: set[str] = set()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()

    @property
    def running_calls(self) -> int:
        return len(self._running)

    def refused_kinds(self) -> list[str]:
        """The kinds of calls that are refused now."""
        is_away = self._failed_pings >= FAILED_PINGS
        return [circuit.kind for circuit in self._circuits.values() if circuit.is_open or is_away]

    def check_pings(self) -> None:
        """Let a call through that stops a model.

        :raises DifyCircuitOpen: Dify answers no ping
        """
        if self._failed_pings >= FAILED_PINGS:
            self._refuse()

    def begin(self, kind: str) -> Call:
        """Let a call through that stops no model.

        :param kind: one of :data:`KINDS`
        :raises DifyCircuitOpen: the circuit of this kind is open, or Dify answers no ping
        :raises TooManyDifyCalls: as many calls are running as may run
        """
        circuit = self._circuits[kind]
        call = Call(self, circuit, self._clock())
        if len(self._running) >= self._max_calls:
            raise TooManyDifyCalls(self._max_calls)
        if circuit.is_open or self._failed_pings >= FAILED_PINGS:
            self._admit(call)
        self._running.add(call)
        if self._watcher is None and self._shared is not None:
            self._watch()
        return call

    def end(self, call: Call) -> None:
        self._running.discard(call)
        if call.circuit.trial is call:
            call.circuit.trial = None

    def close(self) -> None:
        """End the thread that pings. For tests, where a process has several applications one after the other."""
        self._closed.set()

    def _admit(self, call: Call) -> None:
        circuit = call.circuit
        with self._lock:
            if self._failed_pings < FAILED_PINGS:
                if not circuit.is_open:
                    return
                is_free = circuit.trial is None or call.begun_at - circuit.trial.begun_at >= TRIAL_S
                if circuit.may_try and is_free:
                    circuit.trial = call
                    return
        self._refuse()

    def _refuse(self) -> NoReturn:
        self._watch()
        raise DifyCircuitOpen(RETRY_AFTER_S)

    def count_success(self, circuit: Circuit) -> None:
        circuit.succeeded_at = self._clock()
        circuit.failures = 0
        if circuit.is_open:
            with self._lock:
                circuit.is_open, circuit.trial = False, None
            log.warning("Dify answers again: calls of the kind '%s' are sent as before", circuit.kind)
            self._to_withdraw.add(circuit.kind)
            self._report()

    def count_failure(self, call: Call) -> None:
        circuit, opens = call.circuit, False
        with self._lock:
            if circuit.is_open:
                if circuit.trial is call:
                    circuit.may_try, circuit.trial = False, None
            elif call.begun_at >= circuit.succeeded_at:
                circuit.failures += 1
                opens = circuit.failures >= FAILURES
                if opens:
                    circuit.open(token_hex(8))
        if opens:
            self._tell_of_opening(circuit, f"Dify failed {FAILURES} times in a row")
        if circuit.is_open:
            self._watch()

    def _tell_of_opening(self, circuit: Circuit, reason: str) -> None:
        log.error("%s in calls of the kind '%s': they are refused until it answers", reason, circuit.kind)
        metrics.dify_breaker_opened[circuit.kind].inc()
        self._report()

    def _report(self) -> None:
        refused = self.refused_kinds()
        for kind, gauge in metrics.dify_breaker_open.items():
            gauge.set(kind in refused)

    # ---------------------------------------------------------------- the thread that pings and reads the shared state

    def _watch(self) -> None:
        """Start the thread, if it does not run."""
        with self._lock:
            if self._watcher is not None and self._watcher.is_alive() or self._closed.is_set():
                return
            self._watcher = threading.Thread(target=self._run, name="dify-breaker", daemon=True)
            try:
                self._watcher.start()
            except RuntimeError as error:  # No thread could be started. The next refused call tries again.
                log.error("the thread that pings Dify could not be started: %s", error)

    def _run(self) -> None:
        tracing.end()  # A thread of gevent begins with the trace of the request that started it.
        ping_at = 0.0
        while True:
            try:
                if self._shared is not None:
                    self._look(self._shared)
                if self._waits_for_ping() and self._clock() >= ping_at:
                    ping_at = self._clock() + PING_INTERVAL_S
                    self._ask_for_ping()
            except Exception:  # A bug must not keep the circuits open for ever.
                log.exception("unexpected error in the thread that pings Dify")
            with self._lock:
                if self._shared is None and not self._waits_for_ping():
                    self._watcher = None
                    return
            if self._closed.wait(LOOK_INTERVAL_S):
                return

    def _waits_for_ping(self) -> bool:
        return self._failed_pings > 0 or any(each.is_open and not each.may_try for each in self._circuits.values())

    def _ask_for_ping(self) -> None:
        was_away = self._failed_pings >= FAILED_PINGS
        try:
            self._ping()
        except DifyError as error:
            # Any other answer shows that a program is there. What it answers to real calls, the next trial tells.
            if error.dify_status is None or error.dify_status in OUTAGE_STATUSES:
                self._failed_pings += 1
                if self._failed_pings == FAILED_PINGS:
                    log.error("Dify answers no ping: calls of every kind are refused until it answers")
                    self._report()
                return
        with self._lock:
            self._failed_pings = 0
            for circuit in self._circuits.values():
                circuit.may_try = True
        if was_away:
            log.warning("Dify answers pings again")
            self._report()

    def _look(self, shared: SharedState) -> None:
        """Open the circuits that other workers have opened, once for each opening. Each worker closes its own."""
        while self._to_withdraw:
            shared.withdraw(self._to_withdraw.pop())
        for kind, opening in shared.read().items():
            circuit = self._circuits.get(kind)
            if circuit is not None and opening != circuit.opening:
                with self._lock:
                    if circuit.is_open:
                        circuit.opening = opening
                        continue
                    circuit.open(opening)
                self._tell_of_opening(circuit, "another worker found that Dify fails")
        opened = {each.kind: each.opening for each in self._circuits.values() if each.is_open and not each.is_half_open}
        if opened:
            shared.publish(opened)
