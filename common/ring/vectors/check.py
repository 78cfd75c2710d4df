#!/usr/bin/env python3
"""Checks the vectors of this folder against other people's code (PROTOCOL.md, "Keys").

    pip install blake3 cryptography
    python3 check.py

`session.txt` holds, in hex, of the session whose seed is 32 bytes of 7 and whose nonce is 32 bytes of 9, on the device
"cam-1" with the certificate 0x4005, edge A's master key being 32 bytes of 1:

    the device's key K_A, and the proof that edge A shows
    words 0 to 3 of stream 3 (little-endian u32) of inference 5, for chacha20 R and T, then aes128 R and T

Not used here: any code of twinmask.
"""

import struct
import sys
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SEED, NONCE, MASTER = (bytes([byte] * 32) for byte in (7, 9, 1))
NAME, SERIAL = b"cam-1", bytes([0x40, 5])
COUNTER, STREAM, WORDS = 5, 3, 4


def derived(label: str, *parts: bytes) -> bytes:
    """32 bytes."""
    return blake3(b"".join(parts), derive_key_context="twinmask/2 " + label).digest()


def keystream(cipher: Cipher, length: int) -> bytes:
    """The first `length` bytes: the encryption of zeros."""
    return cipher.encryptor().update(bytes(length))


def chacha20(key: bytes, stream: int, length: int) -> bytes:
    """64-bit block counter from 0, then the 64-bit stream id, both little-endian (OpenSSL's 16-byte nonce is that)."""
    return keystream(Cipher(algorithms.ChaCha20(key, struct.pack("<QQ", 0, stream)), mode=None), length)


def aes128_ctr(key: bytes, stream: int, length: int) -> bytes:
    """Key bytes 0 to 15, big-endian 128-bit counter from stream * 2^64."""
    return keystream(Cipher(algorithms.AES(key[:16]), modes.CTR((stream << 64).to_bytes(16, "big"))), length)


def words(stream: bytes) -> str:
    """Little-endian u32 words as the vector file writes them."""
    return "".join(f"{w:08x}" for w in struct.unpack(f"<{len(stream) // 4}I", stream))


def main() -> int:
    """0 when every vector agrees."""
    device = derived("K_A", MASTER, struct.pack("<Q", len(NAME)), NAME, SERIAL)
    session = (device, SEED, NONCE)
    lines = [device.hex(), derived("proof", *session).hex()]
    for name, cipher in (("chacha20", chacha20), ("aes128", aes128_ctr)):
        for label in ("R", "T"):
            key = derived(f"{label} {name}", *session, struct.pack("<Q", COUNTER))
            lines.append(words(cipher(key, STREAM, 4 * WORDS)))
    found = (Path(__file__).parent / "session.txt").read_text().split()
    print("agrees" if found == lines else "DIFFERS, expected:\n" + "\n".join(lines))
    return int(found != lines)


if __name__ == "__main__":
    sys.exit(main())
