"""A process that encodes the rows that it reads from standard input (encode.py starts it).

It reads an `Encoding`, and then lists of rows until its input ends; it answers each list with an `EncodedChunk`.
"""

import os
import pickle
import signal
import sys

from training.data.encoding.encode import encode_chunk


def main() -> None:
    # Ctrl-C goes to every process of a terminal. This one ends when the command does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    encoding = pickle.load(sys.stdin.buffer)
    while True:
        try:
            rows = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            pickle.dump(encode_chunk(rows, encoding), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except BrokenPipeError:
            os._exit(0)


if __name__ == "__main__":
    main()
