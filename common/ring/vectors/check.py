#!/usr/bin/env python3
"""Checks the PRF vectors of this folder against other people's code (PROTOCOL.md, "Keys").

    pip install blake3 cryptography
    python3 check.py

Every vector holds words 0 to 3 of stream 3 under the key of the masks R of inference 5 in the session whose seed is 32
bytes of 7:

    key = BLAKE3.derive_key("twinmask/1 R chacha20" or "twinmask/1 R aes128", seed || le64(5))

One word per line, as eight hex digits of the little-endian u32. Not used here: any code of twinmask.
"""

import struct
import sys
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SEED, COUNTER, STREAM, WORDS = bytes([7] * 32), 5, 3, 4


def key(label: str) -> bytes:
    """32 bytes."""
    ikm = SEED + struct.pack("<Q", COUNTER)
    return blake3(ikm, derive_key_context="twinmask/1 " + label).digest()


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
    """Little-endian u32 words as a vector file writes them."""
    return "".join(f"{w:08x}\n" for w in struct.unpack(f"<{len(stream) // 4}I", stream))


def main() -> int:
    """0 when every vector agrees."""
    vectors = {
        "prf.txt": chacha20(key("R chacha20"), STREAM, 4 * WORDS),
        "prf-aes128.txt": aes128_ctr(key("R aes128"), STREAM, 4 * WORDS),
    }
    wrong = 0
    for name, stream in vectors.items():
        agrees = (Path(__file__).parent / name).read_text() == words(stream)
        wrong += not agrees
        print(f"{name}: {'agrees' if agrees else 'DIFFERS, expected ' + ' '.join(words(stream).split())}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
