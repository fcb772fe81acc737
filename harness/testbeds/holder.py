"""A program that waits for ever, as bytes: all that the container which holds a node's network has in it.

Too small to need a compiler: an ELF header, one program header that maps the file, and three instructions, so that every
engine can be given it without a registry and without a build.
"""

from __future__ import annotations

from struct import pack

_ADDRESS = 0x400000
_HEADERS = 64 + 56

_CODE = {
    # mov eax, 34 (pause); syscall; jmp back
    "amd64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # mov x0..x3, 0; mov x8, 73 (ppoll); svc 0; b back
    "arm64": (183, b"".join(pack("<I", word) for word in (
        0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA,
    ))),
}

ARCHITECTURES = tuple(_CODE)
"""What there is a program for, as Docker names it."""


def program(architecture: str) -> bytes:
    """The executable for one of `ARCHITECTURES`."""
    machine, code = _CODE[architecture]
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little-endian, version 1
    header = pack("<HHIQQQIHHHHHH", 2, machine, 1, _ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x1000)
    return ident + header + segment + code
