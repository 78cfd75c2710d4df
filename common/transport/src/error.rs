//! What can go wrong, in words that say what to do.

use std::io;
use std::path::PathBuf;

use twinmask_wire::ALPN;

use crate::certificate::utc;
use crate::revocation::ListNumber;
use crate::role::Role;

/// Why an identity folder could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}; is this the identity folder that owner-keygen wrote?", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the folder or the key.
    #[error(
        "{} can be accessed by others (mode {mode:04o}): run `chmod {wanted:o} {}`", path.display(), path.display()
    )]
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// A file does not hold what it should.
    #[error("{file}: {problem}; have the owner issue this identity again")]
    Content {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The own certificate has run out.
    #[error(
        "the certificate of {role} expired at {}, and this machine's clock says {}: \
         correct the clock, or have the owner run `owner-keygen rotate`", utc(*not_after_s), utc(*now_s)
    )]
    Expired {
        /// Whose certificate.
        role: Role,
        /// End of its validity, seconds since 1970.
        not_after_s: i64,
        /// The clock, seconds since 1970.
        now_s: i64,
    },
    /// The own certificate is on the owner's list.
    #[error(
        "the certificate of {role} was revoked by the owner: have the owner run \
         `owner-keygen rotate DIR --identity {role}` and copy the folder here anew"
    )]
    Revoked {
        /// Whose certificate.
        role: Role,
    },
    /// The list that was there has gone.
    #[error(
        "{} is gone, and this host has seen the owner's revocation list number {seen}: copy crl.pem here anew from the \
         owner's folder", path.display()
    )]
    ListGone {
        /// Where the list was.
        path: PathBuf,
        /// The greatest number that was seen.
        seen: ListNumber,
    },
    /// The list is older than one that was there.
    #[error(
        "{} is the owner's revocation list number {found}, and this host has seen number {seen}: copy the newest crl.pem \
         here from the owner's folder", path.display()
    )]
    ListOlder {
        /// The list.
        path: PathBuf,
        /// Its number.
        found: ListNumber,
        /// The greatest number that was seen.
        seen: ListNumber,
    },
    /// The own certificate is not valid yet.
    #[error(
        "the certificate of {role} is valid from {} on, and this machine's clock says {}: correct the clock",
        utc(*not_before_s), utc(*now_s)
    )]
    NotYetValid {
        /// Whose certificate.
        role: Role,
        /// Start of its validity, seconds since 1970.
        not_before_s: i64,
        /// The clock, seconds since 1970.
        now_s: i64,
    },
    /// The folder is of a release that had no mask keys.
    #[error(
        "the identity folder of {role} holds no mask.key, which masks hang on: have the owner run `owner-keygen rotate \
         DIR --identity {role}` and copy the folder anew"
    )]
    NoMaskKey {
        /// Whose folder.
        role: Role,
    },
}

/// Why there is no connection, or no longer one. `address` is as the user gave it, or as the packet carried it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The host name has no address.
    #[error("cannot resolve {address}: {source}; expected HOST:PORT")]
    Resolve {
        /// What was asked for.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The local socket could not be made.
    #[error("cannot use UDP address {address}: {source}")]
    Socket {
        /// The local address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answered.
    #[error(
        "no answer from {address} within {waited_ms} ms: is {role} running there, \
         and does every firewall between let UDP through?"
    )]
    Unreachable {
        /// The host.
        address: String,
        /// Who should be there.
        role: Role,
        /// How long we waited, ms.
        waited_ms: u64,
    },
    /// A client did not complete its handshake.
    #[error("{address} did not complete its handshake within {waited_ms} ms")]
    HandshakeTimeout {
        /// The client.
        address: String,
        /// How long we waited, ms.
        waited_ms: u64,
    },
    /// A block of addresses has more handshakes that come to nothing than one may have, or the server has.
    #[error("handshakes from {block} are ignored: too many at a time, or too many that fail ([handshakes])")]
    TooManyHandshakes {
        /// The block, ADDRESS/BITS.
        block: String,
    },
    /// The server takes no more connections.
    #[error("{address} takes no new connections: it has reached its limit or is shutting down; try again later")]
    Busy {
        /// The host.
        address: String,
    },
    /// A client was one too many after its handshake.
    #[error("{address} found no place: as many connections as may be (max_sessions, and a few)")]
    Full {
        /// The client.
        address: String,
    },
    /// The peer's certificate is of another CA.
    #[error(
        "the certificate of {address} was not issued by this owner: it belongs to another deployment, \
         or its identity folder is older than the owner's CA"
    )]
    WrongIssuer {
        /// The peer.
        address: String,
    },
    /// The peer did not accept our certificate.
    #[error("{address} refused our certificate ({reason})")]
    RefusedUs {
        /// The peer.
        address: String,
        /// The TLS alert in words.
        reason: &'static str,
    },
    /// The server is somebody else.
    #[error("the host at {address} is {found}, but it was named as {expected}{}", swap_hint(expected, found))]
    WrongRole {
        /// The host.
        address: String,
        /// Who should be there.
        expected: Role,
        /// Who is.
        found: Role,
    },
    /// The own identity is not one that connects to the other role.
    #[error("{own} has no business with {expected}: is the identity folder the right one for this program?")]
    NotADialer {
        /// Our role.
        own: Role,
        /// Whom we were to connect to.
        expected: Role,
    },
    /// The client has a role that does not dial this server.
    #[error("{address} is {found}, which has no business with {own}")]
    RoleNotServed {
        /// The client.
        address: String,
        /// Its role.
        found: Role,
        /// Our role.
        own: Role,
    },
    /// One key on both ends.
    #[error(
        "{address} holds the same private key as we do ({own}): every host needs the identity folder \
         that was made for it, and only that"
    )]
    SameIdentity {
        /// The peer.
        address: String,
        /// Our role.
        own: Role,
    },
    /// The peer's certificate has run out.
    #[error(
        "the certificate of {address} expired at {}, and this machine's clock says {}: \
         correct the clock, or have the owner run `owner-keygen rotate`", utc(*not_after_s), utc(*now_s)
    )]
    PeerExpired {
        /// The peer.
        address: String,
        /// End of its validity, seconds since 1970.
        not_after_s: i64,
        /// Our clock, seconds since 1970.
        now_s: i64,
    },
    /// The peer's certificate is on the owner's list.
    #[error("the certificate of {address} was revoked by the owner: whoever holds its key is not to be trusted")]
    PeerRevoked {
        /// The peer.
        address: String,
    },
    /// The peer's certificate is not valid yet.
    #[error(
        "the certificate of {address} is valid from {} on, and this machine's clock says {}: correct the clock",
        utc(*not_before_s), utc(*now_s)
    )]
    PeerNotYetValid {
        /// The peer.
        address: String,
        /// Start of its validity, seconds since 1970.
        not_before_s: i64,
        /// Our clock, seconds since 1970.
        now_s: i64,
    },
    /// The peer's certificate is bad in another way.
    #[error("the certificate of {address} {problem}")]
    BadCertificate {
        /// The peer.
        address: String,
        /// What is wrong, completing the sentence.
        problem: String,
    },
    /// The peer speaks something else.
    #[error("{address} does not speak {ALPN}: install the same version of twinmask on both ends")]
    Version {
        /// The peer.
        address: String,
    },
    /// The connection has ended.
    #[error("the connection to {address} has ended: {reason}")]
    Closed {
        /// The peer.
        address: String,
        /// How.
        reason: CloseReason,
    },
    /// The TLS library refused the configuration made from an identity.
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
}

/// Why a connection that stands may stand no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    /// The owner has revoked a certificate of one of its ends.
    #[error("the certificate of {role} was revoked by the owner")]
    Revoked {
        /// Whose certificate.
        role: Role,
    },
    /// A certificate of one of its ends has run out.
    #[error("the certificate of {role} expired at {}", utc(*not_after_s))]
    Expired {
        /// Whose certificate.
        role: Role,
        /// End of its validity, seconds since 1970.
        not_after_s: i64,
    },
}

fn swap_hint(expected: &Role, found: &Role) -> &'static str {
    match (expected, found) {
        (Role::EdgeA, Role::EdgeB) | (Role::EdgeB, Role::EdgeA) => ": are the two addresses swapped?",
        _ => "",
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it with an application code and text (PROTOCOL.md, "Wire": typed errors). Code 0 with no text is
    /// also what a peer's process sends that just lets go of the connection.
    #[error("closed by the peer with code {code}{}{text}", if text.is_empty() { "" } else { ": " })]
    Peer {
        /// The application code.
        code: u32,
        /// The peer's words, made [`printable`](twinmask_wire::printable).
        text: String,
    },
    /// This side closed it.
    #[error("closed by this side")]
    Local,
    /// Nothing was heard from the peer for the idle timeout: killed, or the network is gone.
    #[error("nothing heard from the peer any more; it was killed or the network is down")]
    TimedOut,
    /// The peer does not know the connection (any more): it was restarted.
    #[error("the peer was restarted")]
    Restarted,
    /// The peer refused our certificate after we had accepted its own.
    #[error("the peer refused our certificate ({0})")]
    RefusedUs(&'static str),
    /// A QUIC or TLS error, in the words of the stack.
    #[error("transport error: {0}")]
    Failed(String),
}

/// How one stream ended before its time. [`SendHalf`](crate::SendHalf) and [`RecvHalf`](crate::RecvHalf) wrap it in
/// the `io::Error`s of tokio's traits; [`StreamError::of`] takes it out again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer abandoned sending with this code.
    #[error("the peer abandoned the stream with code {0}")]
    Reset(u32),
    /// The peer refuses to read more, with this code.
    #[error("the peer stopped reading the stream with code {0}")]
    Stopped(u32),
    /// The stream was finished, reset or stopped by this side before.
    #[error("the stream was already closed by this side")]
    Finished,
    /// The connection ended under the stream.
    #[error("the connection has ended: {0}")]
    Connection(CloseReason),
}

impl StreamError {
    /// The stream error inside an `io::Error` that a half returned; `None` for others (such as an early end of data).
    pub fn of(error: &io::Error) -> Option<&StreamError> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> io::Error {
        let kind = match &error {
            StreamError::Reset(_) => io::ErrorKind::ConnectionReset,
            StreamError::Stopped(_) | StreamError::Finished => io::ErrorKind::BrokenPipe,
            StreamError::Connection(CloseReason::TimedOut) => io::ErrorKind::TimedOut,
            StreamError::Connection(_) => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}
