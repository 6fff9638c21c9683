"""Ctrl-C and SIGTERM, each sent to a process of its own at a known place."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cluster import interrupts

SETUP = """
import os, signal, sys, time
from cluster import interrupts
def interrupt(): os.kill(os.getpid(), signal.SIGNAME)
def late(): time.sleep(8); print("never", flush=True)
"""
BODIES = {
    "raised": ("with interrupts.raised():\n    interrupt(); late()", []),
    "swallowed by a library": (
        "with interrupts.raised():\n    try: interrupt(); late()\n    except BaseException: pass\n    late()", []
    ),
    "in a destructor": (
        "class Odd:\n    def __del__(self): interrupt(); time.sleep(0.1)\n"
        "with interrupts.raised():\n    odd = Odd(); del odd; late()", []
    ),
    "not while it closes down": (
        "with interrupts.raised():\n    try: interrupt(); late()\n"
        "    finally: interrupt(); time.sleep(2.5); print('closed', flush=True)", ["closed"]
    ),
    "deferred": (
        "with interrupts.raised():\n    with interrupts.deferred():\n        interrupt(); time.sleep(1.5)\n"
        "        print('whole', flush=True)\n    late()", ["whole"]
    ),
    "another error on its way": (
        "with interrupts.raised():\n    try:\n        try: interrupt(); late()\n"
        "        except KeyboardInterrupt as error: raise ValueError('other') from error\n"
        "    except ValueError: raise KeyboardInterrupt", []
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", BODIES)
def test_an_interrupt_ends_a_block_once(name: str, number: signal.Signals) -> None:
    body, said = BODIES[name]
    indented = "\n    ".join(body.splitlines())
    end = "except KeyboardInterrupt:\n    code = interrupts.exit_code(); print(code)\n    os._exit(0)"
    code = f"{SETUP.replace('SIGNAME', number.name)}\ntry:\n    {indented}\n{end}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [*said, str(128 + number)], done.stderr
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr


def test_an_accepted_interrupt_is_no_failure() -> None:
    code = (
        f"{SETUP.replace('SIGNAME', 'SIGTERM')}\nimport contextlib\nwith interrupts.raised():\n"
        "    with contextlib.suppress(KeyboardInterrupt): interrupt(); late()\n    interrupts.accept()\n"
        "    time.sleep(2.2)\n    print(interrupts.exit_code())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("None\n", "", 0)


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with interrupts.raised(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)  # another thread may take the signal first
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before


def test_an_interrupt_is_not_raised_behind_its_block() -> None:
    with interrupts.raised(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    with interrupts.deferred():
        pass
    assert interrupts.exit_code() == 130
