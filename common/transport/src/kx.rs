//! The key exchange X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem, group 0x11ec): whoever records a handshake has to break
//! both X25519 and ML-KEM-768 (FIPS 203) to read on. It is the only group that we offer or take, so nobody on the way
//! can talk two of us down to less.
//!
//! | | ML-KEM-768 | X25519 |
//! | --- | --- | --- |
//! | client's share | encapsulation key, 1184 bytes | 32 bytes |
//! | server's share | ciphertext, 1088 bytes | 32 bytes |
//! | secret | 32 bytes | 32 bytes |

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768KeyPair, MlKem768PublicKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};
use zeroize::Zeroizing;

const ENCAPSULATION_KEY: usize = 1184;
const CIPHERTEXT: usize = 1088;
const CURVE_POINT: usize = 32;

/// The group, for a provider's list.
#[derive(Debug)]
pub(crate) struct X25519MlKem768;

impl SupportedKxGroup for X25519MlKem768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let curve = X25519.start()?;
        let lattice = mlkem768::generate_key_pair(*random::<64>()?);
        let share = [lattice.pk().as_slice(), curve.pub_key()].concat();
        Ok(Box::new(Begun { lattice, curve, share }))
    }

    fn start_and_complete(&self, client: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (key, point) = parts::<ENCAPSULATION_KEY>(client)?;
        let key = MlKem768PublicKey::from(key);
        if !mlkem768::validate_public_key(&key) {
            return Err(bad_share()); // FIPS 203, section 7.2
        }
        let curve = X25519.start_and_complete(point)?;
        let (ciphertext, secret) = mlkem768::encapsulate(&key, *random::<32>()?);
        let share = [ciphertext.as_ref(), &curve.pub_key].concat();
        Ok(CompletedKeyExchange { group: self.name(), pub_key: share, secret: joined(secret, &curve.secret) })
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// The client's side, until the server's share is there.
struct Begun {
    lattice: MlKem768KeyPair,
    curve: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Begun {
    fn complete(self: Box<Self>, server: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, point) = parts::<CIPHERTEXT>(server)?;
        let curve = self.curve.complete(point)?;
        let secret = mlkem768::decapsulate(self.lattice.private_key(), &MlKem768Ciphertext::from(ciphertext));
        Ok(joined(secret, &curve))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        X25519MlKem768.name()
    }
}

/// Both parts of a share, the first of `N` bytes.
fn parts<const N: usize>(share: &[u8]) -> Result<(&[u8; N], &[u8]), Error> {
    let (first, point) = share.split_first_chunk().ok_or_else(bad_share)?;
    if point.len() == CURVE_POINT { Ok((first, point)) } else { Err(bad_share()) }
}

fn bad_share() -> Error {
    PeerMisbehaved::InvalidKeyShare.into()
}

fn joined(lattice: [u8; 32], curve: &SharedSecret) -> SharedSecret {
    let lattice = Zeroizing::new(lattice);
    [lattice.as_slice(), curve.secret_bytes()].concat().into()
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| GetRandomFailed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digits: &str) -> Vec<u8> {
        let digit = |d: u8| char::from(d).to_digit(16).expect("hexadecimal") as u8;
        digits.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().expect("the length")
    }

    /// Other people's ML-KEM-768 has made these; `vectors/mlkem768.py` says whose.
    #[test]
    fn known_answers() {
        let vectors = include_str!("../vectors/mlkem768.txt");
        let mut found = 0;
        for block in vectors.split("\n\n") {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                hex(line.unwrap_or_else(|| panic!("{name} in {block}")).trim())
            };
            let pair = mlkem768::generate_key_pair(array(&field("seed")));
            assert_eq!(pair.pk().as_slice(), field("key"));
            let ciphertext = MlKem768Ciphertext::from(array(&field("ciphertext")));
            assert_eq!(mlkem768::decapsulate(pair.private_key(), &ciphertext).as_slice(), field("secret"));
            found += 1;
        }
        assert_eq!(found, 4);
    }

    /// Which part stands where, by each part on its own.
    #[test]
    fn the_parts_stand_in_the_draft_s_order() {
        let lattice = mlkem768::generate_key_pair([7; 64]);
        let curve = X25519.start().expect("random numbers");
        let client = [lattice.pk().as_slice(), curve.pub_key()].concat();
        assert_eq!(client.len(), 1216);
        let server = X25519MlKem768.start_and_complete(&client).expect("a good share");
        assert_eq!((u16::from(server.group), server.pub_key.len()), (0x11ec, 1120));
        let (ciphertext, point) = server.pub_key.split_at(1088);
        let first = mlkem768::decapsulate(lattice.private_key(), &MlKem768Ciphertext::from(array(ciphertext)));
        let second = curve.complete(point).expect("a good point");
        assert_eq!(server.secret.secret_bytes(), [first.as_slice(), second.secret_bytes()].concat());
    }

    #[test]
    fn both_sides_have_one_secret_and_no_two_exchanges_the_same() {
        let exchange = || {
            let client = X25519MlKem768.start().expect("random numbers");
            let server = X25519MlKem768.start_and_complete(client.pub_key()).expect("a good share");
            let secret = client.complete(&server.pub_key).expect("a good share");
            assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
            secret.secret_bytes().to_vec()
        };
        let (one, other) = (exchange(), exchange());
        assert!(one.len() == 64 && one[..32] != other[..32] && one[32..] != other[32..]);
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        let good = X25519MlKem768.start().expect("random numbers").pub_key().to_vec();
        let answered = |share: &[u8]| X25519MlKem768.start_and_complete(share).is_ok();
        assert!(answered(&good));
        let above_the_modulus = [&[0xff; 3], &good[3..]].concat();
        let no_point = [&good[..1184], &[0; 32]].concat();
        let longer = [&good[..], &[0]].concat();
        for bad in [&[][..], &good[..1184], &good[..1215], &longer, &above_the_modulus, &no_point] {
            assert!(!answered(bad), "{} bytes", bad.len());
        }
        for length in [0, 32, 1088, 1119, 1121] {
            let client = X25519MlKem768.start().expect("random numbers");
            assert!(client.complete(&vec![1; length]).is_err(), "{length} bytes");
        }
    }
}
