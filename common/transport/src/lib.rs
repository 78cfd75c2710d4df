//! QUIC endpoints, mutual TLS identities and limits of twinmask, with an in-memory twin for tests.
//!
//! What travels inside the streams is none of this crate's business (that is `twinmask-wire`); who sits at the other
//! end is: every [`Connection`] has a [`Peer`] whose [`Role`] was read from a certificate of the owner's private CA,
//! and a connection whose peer is not who it should be never comes into existence (PROTOCOL.md, "Wire").

mod certificate;
mod classify;
mod connection;
mod error;
pub mod frame_io;
mod gate;
mod handshakes;
mod hex_file;
mod identity;
mod kx;
mod limits;
pub mod mask_key;
mod memory;
pub mod owner_key;
mod permissions;
mod process;
mod provider;
mod quic;
mod range;
mod revocation;
mod role;
mod server;
mod socket;
mod stream;
mod tls;
mod twin;

pub use bytes::Bytes;
pub use certificate::{Facts, Fingerprint, model_uri, utc};
pub use connection::{Connection, Peer};
pub use error::{CloseReason, IdentityError, Objection, StreamError, TransportError};
pub use handshakes::{HandshakeLimits, HandshakeOverrides};
pub use identity::{CA_FILE, CERT_FILE, CRL_FILE, Identity, KEY_FILE, read_certificate};
pub use limits::{TransportLimits, TransportOverrides};
pub use permissions::check_private_permissions;
pub use process::{Kept, keep_memory, runtime};
#[doc(hidden)]
pub use provider::provider;
pub use quic::Client;
pub use range::OutOfRange;
pub use revocation::{ListNumber, RevocationList, SEEN_FILE};
pub use role::{InvalidRole, MAX_DEVICE_NAME, Role};
pub use server::Server;
pub use stream::{RecvHalf, SendHalf};
pub use twin::{memory_pair, memory_pair_as, memory_pair_for, sever};
