"""What the checks share: a client, events whose number is in their data, and comparisons that say what was expected."""

import json
import threading
import time
from uuid import UUID, uuid4

from kurrentdbclient import KurrentDBClient, NewEvent, StreamState

ANY, NO_STREAM, EXISTS = StreamState.ANY, StreamState.NO_STREAM, StreamState.EXISTS


class Failed(Exception):
    """A check found something else than it expected."""


def client(address):
    return KurrentDBClient(f"esdb://{address}?tls=false")


def event(number, type="note.Taken", id=None):
    return NewEvent(type=type, data=json.dumps({"number": number}).encode(), id=id or uuid4())


def events(numbers, type="note.Taken"):
    return [event(number, type) for number in numbers]


def number(recorded):
    return json.loads(recorded.data)["number"]


def numbers(recorded):
    return [number(event) for event in recorded]


def revisions(recorded):
    return [event.stream_position for event in recorded]


def equal(found, expected, what):
    if found != expected:
        raise Failed(f"{what}: expected {shortened(expected)}, found {shortened(found)}")


def true(truth, what):
    if not truth:
        raise Failed(what)


def shortened(value):
    text = repr(value)
    return text if len(text) < 400 else f"{text[:200]} … {text[-200:]}"


def refused(kind, call, *arguments, **named):
    """The exception of exactly this type that the call must end with."""
    try:
        answer = call(*arguments, **named)
    except Exception as error:
        if type(error) is kind:
            return error
        raise Failed(f"expected {kind.__name__}, found {type(error).__name__}: {error}") from error
    raise Failed(f"expected {kind.__name__}, but it was answered {shortened(answer)}")


def within(seconds, what, found):
    """What `found` gives, once it gives something true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise Failed(f"{what}: not within {seconds} s")


class Worker:
    """A function in a thread of its own, whose exception is that of `finished`."""

    def __init__(self, function, *arguments):
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(function, *arguments), daemon=True)
        self._thread.start()

    def _run(self, function, *arguments):
        try:
            function(*arguments)
        except BaseException as error:
            self._error = error

    def finished(self, seconds=120):
        self._thread.join(seconds)
        true(not self._thread.is_alive(), f"a thread did not end within {seconds} s")
        if self._error is not None:
            raise self._error


def id_of(number):
    """The same event id for the same number, so that an append can be repeated."""
    return UUID(int=number + (0xC11E47 << 64))
