"""The box of posts by itself: what is sent, what fails, and that nothing is left untold."""

import socket
import threading

import pytest

from binmon.net.posts import Post, PostBox


@pytest.fixture
def pair():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def letter(text, fate):
    return Post(text, lambda ns, mono_ns: fate.append((text, "departed")), lambda reason: fate.append((text, reason)))


def test_without_a_connection_nothing_is_taken():
    fate, box = [], PostBox()
    assert not box.post(letter(b"a", fate))
    box.open()
    box.close("gone")
    assert not box.post(letter(b"b", fate)) and fate == []


def test_what_is_unsent_at_the_end_fails_with_its_reason(pair):
    fate, box = [], PostBox()
    box.open()
    assert box.post(letter(b"a", fate)) and box.post(letter(b"b", fate))
    box.close("the venue left")
    assert fate == [(b"a", "the venue left"), (b"b", "the venue left")]
    box.open()  # the next connection begins without old posts
    with pytest.raises(TimeoutError):
        box.wait(pair[0], 0.01, pytest.fail)
    box.close("")


def test_waiting_ends_with_data_and_sends_meanwhile(pair):
    fate, sent, box = [], [], PostBox()
    box.open()

    def send(payload):
        sent.append(payload)
        pair[1].sendall(b"answer")

    for text in (b"a", b"b"):
        box.post(letter(text, fate))
    box.wait(pair[0], 5.0, send)
    assert sent == [b"a", b"b"] and fate == [(b"a", "departed"), (b"b", "departed")]
    assert pair[0].recv(100).startswith(b"answer")
    box.close("")


def test_a_post_that_cannot_be_sent_has_departed_and_does_not_fail_as_well(pair):
    fate, box = [], PostBox()
    box.open()
    box.post(letter(b"a", fate))

    def refuse(payload):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        box.wait(pair[0], 5.0, refuse)
    box.close("after")
    assert fate == [(b"a", "departed")], "whether it arrived nobody knows: it must not look unsent"


def test_many_threads_post_while_one_waits(pair):
    fate, sent, box, done = [], [], PostBox(), threading.Event()
    box.open()

    def post(name):
        for number in range(200):
            assert box.post(letter(b"%d %d" % (name, number), fate))

    threads = [threading.Thread(target=post, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()

    def send(payload):
        sent.append(payload)
        if len(sent) == 800:
            done.set()
            pair[1].sendall(b"x")

    box.wait(pair[0], 20.0, send)
    for thread in threads:
        thread.join()
    assert done.is_set() and len(set(sent)) == 800 and len(fate) == 800
    for name in range(4):
        mine = [int(text.split()[1]) for text in sent if text.startswith(b"%d " % name)]
        assert mine == list(range(200)), "in the order they were posted"
    box.close("")
