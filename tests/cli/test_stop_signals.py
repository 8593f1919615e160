"""How `tuneyard up` hears that it is to stop."""

import signal
import threading

from tuneyard.cli.up import stop_signals

SIGNALS = 3000


def test_a_signal_is_heard_at_whatever_moment_it_comes() -> None:
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        for _ in range(SIGNALS):
            signal.pthread_kill(main, signal.SIGTERM)

    with stop_signals() as stops:
        assert not stops(0)
        sender = threading.Thread(target=send)
        sender.start()
        heard = 0
        while sender.is_alive() or not heard:
            heard += stops(0.001)
        sender.join()


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
