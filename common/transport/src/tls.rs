//! TLS 1.3 on both sides: the stock verifier of the owner's CA, then the checks that are ours.
//!
//! The role and key checks sit inside the verifiers, so that a wrong peer fails in the handshake and never has a
//! connection. Each handshake has a verifier of its own, which keeps its typed finding, as QUIC passes on only a text;
//! the stock verifier inside is one per identity, with the revocation list read once.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use twinmask_wire::{ALPN, printable};

use crate::certificate::{self, Facts, Fingerprint, now_s};
use crate::error::TransportError;
use crate::identity::Identity;
use crate::provider::provider;
use crate::role::Role;

/// Checks the peer of one handshake and remembers the outcome.
#[derive(Debug)]
pub(crate) struct PeerCheck {
    address: String,
    own_role: Role,
    own_key: Fingerprint,
    /// Clients: the role that the server must have.
    expected: Option<Role>,
    outcome: Mutex<Option<Result<Facts, TransportError>>>,
}

impl PeerCheck {
    pub(crate) fn new(address: String, own: &Identity, expected: Option<Role>) -> Arc<PeerCheck> {
        let (own_role, own_key) = (own.role().clone(), own.fingerprint());
        Arc::new(PeerCheck { address, own_role, own_key, expected, outcome: Mutex::new(None) })
    }

    /// What the verifier found; `None` if the handshake did not get that far.
    pub(crate) fn take(&self) -> Option<Result<Facts, TransportError>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Goes on from the stock verifier's verdict. A wrong name is no final verdict: the chain was good, and the role
    /// tells better what is wrong.
    fn judge(&self, der: &[u8], stock: Result<(), Error>) -> Result<(), Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let outcome = match &stock {
            Ok(()) => self.identify(der),
            Err(Error::InvalidCertificate(e @ (NotValidForName | NotValidForNameContext { .. }))) => {
                self.identify(der).and_then(|_| Err(self.bad(format!("does not name its host ({e})"))))
            }
            Err(e) => Err(self.stock_refusal(der, e)),
        };
        let verdict = match &outcome {
            Ok(_) => Ok(()),
            Err(_) => Err(stock.err().unwrap_or(CertificateError::ApplicationVerificationFailure.into())),
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        verdict
    }

    fn identify(&self, der: &[u8]) -> Result<Facts, TransportError> {
        let facts = certificate::read(der).map_err(|problem| self.bad(problem))?;
        let address = self.address.clone();
        if facts.key == self.own_key {
            return Err(TransportError::SameIdentity { address, own: self.own_role.clone() });
        }
        match &self.expected {
            Some(expected) if facts.role != *expected => {
                Err(TransportError::WrongRole { address, expected: expected.clone(), found: facts.role })
            }
            None if !facts.role.may_dial(&self.own_role) => {
                Err(TransportError::RoleNotServed { address, found: facts.role, own: self.own_role.clone() })
            }
            _ => Ok(facts),
        }
    }

    fn stock_refusal(&self, der: &[u8], error: &Error) -> TransportError {
        use CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidYet, NotValidYetContext, Revoked, UnknownIssuer,
        };
        let address = self.address.clone();
        let Error::InvalidCertificate(error) = error else { return self.bad(format!("was refused ({error})")) };
        match (error, certificate::read(der)) {
            // A CA with the same name and another key shows as a bad signature.
            (UnknownIssuer | BadSignature, _) => TransportError::WrongIssuer { address },
            (Revoked, _) => TransportError::PeerRevoked { address },
            (Expired | ExpiredContext { .. }, Ok(facts)) => {
                TransportError::PeerExpired { address, not_after_s: facts.not_after_s, now_s: now_s() }
            }
            (NotValidYet | NotValidYetContext { .. }, Ok(facts)) => {
                TransportError::PeerNotYetValid { address, not_before_s: facts.not_before_s, now_s: now_s() }
            }
            _ => self.bad(format!("was refused ({error})")),
        }
    }

    /// `problem` may hold what the peer has written into its certificate.
    fn bad(&self, problem: String) -> TransportError {
        TransportError::BadCertificate { address: self.address.clone(), problem: printable(&problem) }
    }
}

fn unusable(error: impl std::fmt::Display) -> TransportError {
    TransportError::Tls(error.to_string())
}

/// The TLS side of one outgoing connection: no resumption, no 0-RTT.
pub(crate) fn client(own: &Identity, check: Arc<PeerCheck>) -> Result<rustls::ClientConfig, TransportError> {
    let stock = own.trust.servers.clone();
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerCheck { stock, check }))
        .with_client_cert_resolver(own.certified.clone());
    config.alpn_protocols = vec![ALPN.into()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The TLS side of one incoming connection: a client certificate is demanded, and no tickets are sent, as a resumed
/// session would let a certificate in that has expired since.
pub(crate) fn server(own: &Identity, check: Arc<PeerCheck>) -> Result<rustls::ServerConfig, TransportError> {
    let stock = own.trust.clients.clone();
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(ClientCheck { stock, check }))
        .with_cert_resolver(own.certified.clone());
    config.alpn_protocols = vec![ALPN.into()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// What a client asks of the server's certificate.
#[derive(Debug)]
struct ServerCheck {
    stock: Arc<WebPkiServerVerifier>,
    check: Arc<PeerCheck>,
}

/// What a server asks of the client's certificate.
#[derive(Debug)]
struct ClientCheck {
    stock: Arc<dyn ClientCertVerifier>,
    check: Arc<PeerCheck>,
}

/// The parts of both verifier traits that the stock verifier answers alone.
macro_rules! signatures_as_stock {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.stock.verify_tls12_signature(message, cert, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.stock.verify_tls13_signature(message, cert, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.stock.supported_verify_schemes()
        }
    };
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let stock = self.stock.verify_server_cert(leaf, intermediates, name, ocsp, now);
        self.check.judge(leaf, stock.map(drop))?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_as_stock!();
}

impl ClientCertVerifier for ClientCheck {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.stock.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let stock = self.stock.verify_client_cert(leaf, intermediates, now);
        self.check.judge(leaf, stock.map(drop))?;
        Ok(ClientCertVerified::assertion())
    }

    signatures_as_stock!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

    /// Identities of one owner.
    fn identities<const N: usize>(roles: [Role; N]) -> [Identity; N] {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
        let issuer = Issuer::new(ca, ca_key);
        roles.map(|role| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(role.uri().as_str().try_into().expect("ASCII"))];
            params.subject_alt_names.extend(role.dns_name().map(|n| SanType::DnsName(n.try_into().expect("ASCII"))));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
            let cert = params.signed_by(&key, &issuer).expect("a certificate").pem();
            Identity::from_pem(cert.as_bytes(), key.serialize_pem().as_bytes(), ca_pem.as_bytes()).expect("an identity")
        })
    }

    #[test]
    fn the_hybrid_key_exchange_is_what_is_negotiated() {
        let [edge, device] = identities([Role::EdgeA, Role::device("cam").expect("a good name")]);
        let to = PeerCheck::new("x".to_owned(), &device, Some(Role::EdgeA));
        let from = PeerCheck::new("y".to_owned(), &edge, None);
        let (client, server) = (client(&device, to), server(&edge, from));
        let name = Role::EdgeA.dns_name().expect("an edge").try_into().expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::new(client.expect("configured")), name).expect("begins");
        let mut server = rustls::ServerConnection::new(Arc::new(server.expect("configured"))).expect("begins");
        while client.is_handshaking() || server.is_handshaking() {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            client.write_tls(&mut up).expect("memory");
            server.read_tls(&mut &up[..]).expect("memory");
            server.process_new_packets().expect("a good client");
            server.write_tls(&mut down).expect("memory");
            client.read_tls(&mut &down[..]).expect("memory");
            client.process_new_packets().expect("a good server");
        }
        for group in [client.negotiated_key_exchange_group(), server.negotiated_key_exchange_group()] {
            assert_eq!(group.expect("it is done").name(), rustls::NamedGroup::X25519MLKEM768);
        }
    }

    #[test]
    fn handshakes_share_the_verifier_of_their_identity() {
        let [own] = identities([Role::EdgeA]);
        let before = Arc::strong_count(&own.trust.clients);
        let check = || PeerCheck::new("x".to_owned(), &own, None);
        let configs: Vec<_> = (0..5).map(|_| server(&own, check()).expect("a configuration")).collect();
        assert_eq!(Arc::strong_count(&own.trust.clients), before + configs.len());
        let configs: Vec<_> = (0..5).map(|_| client(&own, check()).expect("a configuration")).collect();
        assert_eq!(Arc::strong_count(&own.trust.servers), before + configs.len());
    }
}
