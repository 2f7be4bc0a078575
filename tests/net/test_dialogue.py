"""Questions over a shared connection: every ending says whether the question may have been taken."""

from __future__ import annotations

import threading

import pytest

from binmon.errors import NotSent, VenueUnreachable
from binmon.net.dialogue import Dialogue


class Connection:
    """What the socket's thread would do, by hand; ``script(post)`` runs in a thread of its own for each post."""

    def __init__(self, script, timeout_s=30.0, name="ws.1"):
        self.departures, self.threads, self.script = [], [], script
        self.dialogue = Dialogue("wss://x", lambda: name, self.post, timeout_s)

    def post(self, connection, post):
        assert connection == "ws.1"
        if self.script is None:
            return False
        thread = threading.Thread(target=self.script, args=(self.dialogue, post))
        thread.start()
        self.threads.append(thread)
        return True

    def ask(self, request_id="1", stop=None):
        try:
            return self.dialogue.ask(
                request_id, b"payload", lambda ns, mono: self.departures.append((ns, mono)), stop or threading.Event()
            )
        finally:
            for thread in self.threads:
                thread.join()


def test_an_answer_finds_who_asked():
    def answer(dialogue, post):
        post.departed(5, 6)
        assert not dialogue.answered("other", b"no", 1, 2)
        assert dialogue.answered("1", post.payload, 7, 8)

    connection = Connection(answer)
    said = connection.ask()
    assert (said.body, said.received_ns, said.received_mono_ns) == (b"payload", 7, 8)
    assert connection.departures == [(5, 6)]
    assert not connection.dialogue.answered("1", b"again", 9, 9), "nobody waits any more"


def test_without_a_connection_nothing_has_left():
    with pytest.raises(NotSent, match="no connection is up"):
        Connection(None, name=None).ask()
    with pytest.raises(NotSent, match=r"ws\.1 is not up"):
        Connection(None).ask()


def test_what_was_never_sent_is_certain():
    with pytest.raises(NotSent, match="reset"):
        Connection(lambda dialogue, post: post.failed("reset")).ask()


def test_what_was_sent_and_lost_is_not_certain():
    def lose(dialogue, post):
        post.departed(1, 1)
        dialogue.lost("another", "no matter")
        dialogue.lost("ws.1", "reset")

    with pytest.raises(VenueUnreachable, match="reset") as error:
        Connection(lose).ask()
    assert not isinstance(error.value, NotSent)


def test_a_lost_connection_does_not_say_that_a_post_never_left():
    def lose(dialogue, post):
        dialogue.lost("ws.1", "reset")  # told by another thread than the one that may still send it

    with pytest.raises(VenueUnreachable, match="reset") as error:
        Connection(lose).ask()
    assert not isinstance(error.value, NotSent)


@pytest.mark.parametrize("departs", [True, False])
def test_silence_is_not_certain_either(departs):
    with pytest.raises(VenueUnreachable, match="no answer within") as error:
        Connection(lambda dialogue, post: departs and post.departed(1, 1), timeout_s=0.4).ask()
    assert not isinstance(error.value, NotSent), "it may still leave"


def test_a_stop_ends_the_waiting():
    stop = threading.Event()
    with pytest.raises(VenueUnreachable, match="told to stop"):
        Connection(lambda dialogue, post: (post.departed(1, 1), stop.set())).ask(stop=stop)


def test_one_name_for_one_question_at_a_time():
    def ask_again(dialogue, post):
        with pytest.raises(ValueError, match="under way"):
            dialogue.ask("1", b"", lambda ns, mono: None, threading.Event())
        dialogue.answered("1", b"", 0, 0)

    connection = Connection(ask_again)
    connection.ask()
    assert connection.ask(), "free again"
