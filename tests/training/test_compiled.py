"""What is told of a step that could not be compiled: once on the screen, always in the log."""

import logging

import pytest

from svae.training import compiled

GCC = """C++ compile error

Command:
g++ /tmp/main.cpp -D TORCH_INDUCTOR_CPP_WRAPPER -shared -fPIC

Output:
/tmp/main.cpp:2:10: fatal error: Python.h: No such file or directory
compilation terminated."""
MISSING = """No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GCC, "/tmp/main.cpp:2:10: fatal error: Python.h: No such file or directory"),
        (MISSING, MISSING.splitlines()[0]),
        ("backend='inductor' raised:\nRuntimeError: no such loop", "RuntimeError: no such loop"),
        ("", "RuntimeError"),
        ("x" * 300, "x" * 200),
    ],
    ids=["compiler's", "first", "raised", "none", "long"],
)
def test_the_reason_is_the_line_that_tells_most(text, reason):
    assert compiled._reason(RuntimeError(text)) == reason


def test_every_run_has_it_in_its_log_and_a_sweep_once_on_the_screen(capsys, caplog):
    compiled._say_once.cache_clear()
    with caplog.at_level(logging.INFO, "svae"):
        for _ in range(3):
            compiled._tell("nothing can be compiled here", RuntimeError("no compiler"))
    line = "trainer.compile: nothing can be compiled here, the step runs as it is (no compiler)"
    assert capsys.readouterr().out == f"{line}\n"
    assert [record.getMessage() for record in caplog.records] == [line] * 3
    compiled._say_once.cache_clear()
