"""Output of a script in a terminal and as a run is the same: streams, bytes, logging."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.forkserver.client import ForkServer
from tests.integration.terminal import as_a_run, in_a_terminal, lines_of

STREAMS = {
    "split_character": "for byte in 'ä€😀\\n'.encode():\n"
    "    sys.stdout.buffer.write(bytes([byte])); sys.stdout.buffer.flush()",
    "split_by_raw": "for byte in 'ä\\n'.encode(): sys.stdout.buffer.raw.write(bytes([byte]))",
    "mixed": "print('a', flush=True); sys.stdout.buffer.write(b'b\\n'); sys.stdout.buffer.flush(); print('c')",
    "detach": "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8'); print('ä')",
    "writer": "import codecs; sys.stdout = codecs.getwriter('utf-8')(sys.stdout.detach()); print('ä')",
    "detached": "text, sys.stdout = sys.stdout, sys.stderr; text.detach()\ntry: text.write('x')\n"
    "except ValueError as error: print(error)",
    "ascii": "sys.stdout.reconfigure(encoding='ascii', errors='replace'); print('ä', sys.stdout.encoding)",
    "strict": "sys.stdout.reconfigure(encoding='ascii')\ntry: print('ä')\nexcept UnicodeEncodeError: print('no')",
    "attributes": "print(sys.stdout.encoding, sys.stdout.name, sys.stdout.mode, sys.stdout.closed,"
    " sys.stderr.fileno())",
    "layers": "print(isinstance(sys.stdout, io.TextIOWrapper), isinstance(sys.stdout.buffer, io.BufferedWriter),"
    " isinstance(sys.stdout.buffer.raw, io.RawIOBase), sys.stdout.line_buffering, sys.stdout.seekable())",
    "text_to_bytes": "try: sys.stdout.buffer.write('x')\nexcept TypeError: print('refused')",
    "bytes_to_text": "try: sys.stdout.write(b'x')\nexcept TypeError as error: print(error)",
    "redirected": "import contextlib\nwith contextlib.redirect_stdout(io.StringIO()): print('hidden')\nprint('shown')",
    "unknown_encoding": "try: sys.stdout.reconfigure(encoding='none')\nexcept LookupError as error: print(error)",
    "writelines": "sys.stdout.writelines(['a\\n', 'b\\n'])",
    "tee": "class Tee:\n    def write(self, text): sys.__stdout__.write(text.upper())\n"
    "    def flush(self): pass\nsys.stdout = Tee(); print('loud')",
    "colours": "print('\\x1b[31mred\\x1b[0m')",
}
HANDLER = "handler = logging.StreamHandler(); handler.setFormatter(logging.Formatter('%(levelname)s %(message)s'))\n"
LOGGING = {
    "basic_level": "logging.basicConfig(level=logging.DEBUG); logging.getLogger('a').debug('x')",
    "basic_format": "logging.basicConfig(format='> %(message)s'); logging.info('hidden'); logging.error('x')",
    "basic_stdout": "logging.basicConfig(stream=sys.stdout, level='INFO'); logging.info('x')",
    "basic_twice": "logging.basicConfig(level=10); logging.basicConfig(level=50); logging.debug('x')",
    "basic_force": "logging.basicConfig(level=10); logging.basicConfig(level=30, force=True); logging.info('x')",
    "root_handler": HANDLER + "logging.getLogger().addHandler(handler); logging.info('hidden'); logging.error('x')",
    "own_handler": HANDLER + "log = logging.getLogger('a'); log.setLevel(10); log.addHandler(handler); log.info('x')",
    "both": HANDLER + "logging.getLogger().addHandler(handler); log = logging.getLogger('a')\n"
    "log.addHandler(handler); log.warning('x')",
    "no_propagation": HANDLER + "log = logging.getLogger('a'); log.propagate = False; log.addHandler(handler)\n"
    "log.warning('x')",
    "to_a_file_only": "logging.basicConfig(filename=os.devnull); logging.error('x'); print('end')",
    "null_handler": "logging.getLogger('a').addHandler(logging.NullHandler()); logging.getLogger('a').error('x')\n"
    "print('end')",
    "exception": "logging.basicConfig()\nlogging.basicConfig(format='%(message)s')\n"
    "try: 1 / 0\nexcept ZeroDivisionError as error: logging.error('failed: %s', error)",
    "dict_config": "import logging.config\nlogging.config.dictConfig({'version': 1, 'root': {'level': 'INFO',"
    " 'handlers': ['h']}, 'handlers': {'h': {'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'}}})\n"
    "logging.info('x'); logging.debug('y')",
}
IMPORTS = "import io, logging, os, sys\n"


@pytest.mark.parametrize("name", [*STREAMS, *LOGGING])
def test_the_run_has_what_a_terminal_shows(fork_server: ForkServer, tmp_path: Path, name: str) -> None:
    path = tmp_path / "script.py"
    path.write_text(IMPORTS + (STREAMS | LOGGING)[name] + "\n")

    assert lines_of(as_a_run(fork_server, path)) == in_a_terminal(path)


@pytest.mark.parametrize("call", ["logging.info('x')", "logging.getLogger('a').info('x')", "logging.warning('x')"])
def test_unconfigured_logging_becomes_lines(fork_server: ForkServer, tmp_path: Path, call: str) -> None:
    path = tmp_path / "script.py"
    path.write_text(IMPORTS + call + "\n")
    heard = as_a_run(fork_server, path)

    ((_, level, source, message, about),) = heard.line_records()
    assert (source, message) == ("logging", "x")
    assert level == (30 if "warning" in call else 20)
    assert about["logger"] in ("root", "a")


def test_a_record_on_a_standard_stream_keeps_its_level(fork_server: ForkServer, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(IMPORTS + "logging.basicConfig(format='%(message)s'); logging.getLogger('a').critical('x')\n")

    ((_, level, source, message, about),) = as_a_run(fork_server, path).line_records()
    assert (level, source, message, about) == (50, "logging", "x", {"logger": "a"})
