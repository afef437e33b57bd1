"""Files from the network: over TLS alone, and neither too large nor for ever.

Whether a file is the right one is for the caller to verify.
"""

import math
import time
from threading import Thread

LARGEST = 2**25  # bytes; the largest file of a citation graph has 11 million
_SILENCE = 15.0  # seconds that a server may send nothing


def download(url: str, path: str, _=None, *, seconds: float) -> None:
    """Write what `url` has to `path`; takes its arguments as the downloaders of pooch do.

    Raises:
        OSError: when it is not to be had over TLS, is larger than `LARGEST` or takes longer.
    """
    failures = []

    def work() -> None:
        try:
            _transfer(url, path, seconds)
        except Exception as error:
            failures.append(error)

    # a socket's own limit is for each piece: a server that trickles, be it its headers, goes on
    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if thread.is_alive():
        raise _late(seconds)
    if failures:
        raise failures[0]


def _transfer(url: str, path: str, seconds: float) -> None:
    import requests

    deadline = time.monotonic() + seconds
    with requests.Session() as session, open(path, "wb") as file:
        session.mount("http://", _NoTls())  # of a redirect, too
        # as it is: what a server calls compressed could fill any memory
        as_is = {"Accept-Encoding": "identity"}
        with session.get(url, stream=True, timeout=_SILENCE, headers=as_is) as response:
            response.raise_for_status()
            for piece in response.raw.stream(2**16, decode_content=False):
                if file.tell() + len(piece) > LARGEST:
                    raise OSError(f"has more than {LARGEST} bytes")
                if time.monotonic() > deadline:
                    raise _late(seconds)
                file.write(piece)


def _late(seconds: float) -> TimeoutError:
    return TimeoutError(f"took longer than {math.ceil(seconds)} s")


class _NoTls:
    """An adapter of requests that connects to nothing."""

    def send(self, request, **_):
        raise OSError(f"leads to {request.url}, expected https")

    def close(self) -> None:
        pass
