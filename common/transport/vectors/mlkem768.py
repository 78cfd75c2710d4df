#!/usr/bin/env python3
"""Makes mlkem768.txt, or checks it: known answers of ML-KEM-768 (FIPS 203) by other people's code.

    pip install 'cryptography>=47' kyber-py
    python3 mlkem768.py [--make]

`key` is the encapsulation key of the seed d || z, `ciphertext` was made for it, `secret` is what decapsulation gives.
OpenSSL (in cryptography) made the first three; the last one is its second ciphertext with one bit turned, whose secret
is that of implicit rejection. kyber-py, which is another implementation, has to agree. Not used here: any code of
twinmask.
"""

import hashlib
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from kyber_py.ml_kem import ML_KEM_768

FILE = Path(__file__).with_name("mlkem768.txt")
FIELDS = ("seed", "key", "ciphertext", "secret")


def make() -> str:
    """Vectors of three seeds."""
    blocks = []
    for number in range(3):
        seed = hashlib.sha512(b"twinmask mlkem768 %d" % number).digest()
        private = MLKEM768PrivateKey.from_seed_bytes(seed)
        secret, ciphertext = private.public_key().encapsulate()
        blocks.append((seed, private.public_key().public_bytes_raw(), ciphertext, secret))
    seed, key, ciphertext, _ = blocks[1]
    turned = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    blocks.append((seed, key, turned, MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(turned)))
    lines = ["\n".join(f"{name} {value.hex()}" for name, value in zip(FIELDS, block)) for block in blocks]
    return "\n\n".join(lines) + "\n"


def check(text: str) -> None:
    """Both implementations agree with every vector."""
    for block in text.strip().split("\n\n"):
        values = dict(line.split(" ") for line in block.splitlines())
        seed, key, ciphertext, secret = (bytes.fromhex(values[name]) for name in FIELDS)
        openssl = MLKEM768PrivateKey.from_seed_bytes(seed)
        assert openssl.public_key().public_bytes_raw() == key and openssl.decapsulate(ciphertext) == secret
        theirs, private = ML_KEM_768.key_derive(seed)
        assert theirs == key and ML_KEM_768.decaps(private, ciphertext) == secret


if __name__ == "__main__":
    if "--make" in sys.argv:
        FILE.write_text(make())
    check(FILE.read_text())
    print("all vectors hold")
