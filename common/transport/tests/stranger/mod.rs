//! Peers that are not ours: they check nothing themselves and tell the QUIC code with which they are refused.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig};
use rcgen::KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use twinmask_transport::{Role, provider};

/// A certificate (PEM) with its key.
pub type Certified<'a> = (&'a str, &'a KeyPair);

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).unwrap()
}

/// The TLS side of a client, with or without a certificate.
pub fn client_tls(certified: Option<Certified<'_>>, alpn: &[u8]) -> rustls::ClientConfig {
    client_tls_of(certified, alpn, provider())
}

/// The same by a provider of its own.
pub fn client_tls_of(
    certified: Option<Certified<'_>>,
    alpn: &[u8],
    provider: Arc<CryptoProvider>,
) -> rustls::ClientConfig {
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut tls = match certified {
        Some((pem, key)) => builder.with_client_auth_cert(vec![der(pem)], private(key)).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls
}

/// A call to edge A.
pub async fn call(address: &str, tls: rustls::ClientConfig) -> Result<Connection, ConnectionError> {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    endpoint.connect_with(config, address.parse().unwrap(), Role::EdgeA.dns_name().unwrap()).unwrap().await
}

/// A call to edge A that is refused.
pub async fn refused(address: &str, certified: Option<Certified<'_>>, alpn: &[u8]) -> u64 {
    match call(address, client_tls(certified, alpn)).await {
        Ok(connection) => code(connection.closed().await),
        Err(error) => code(error),
    }
}

/// A server that lets anybody in.
pub fn server(certified: Certified<'_>, alpn: &[u8]) -> (Endpoint, String) {
    server_of(certified, alpn, provider())
}

/// The same by a provider of its own.
pub fn server_of((pem, key): Certified<'_>, alpn: &[u8], provider: Arc<CryptoProvider>) -> (Endpoint, String) {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(pem)], private(key))
        .unwrap();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap().to_string();
    (endpoint, address)
}

/// What a server hears of its first client, which refuses it.
pub async fn hears(server: &Endpoint) -> u64 {
    match server.accept().await.unwrap().await {
        Ok(connection) => code(connection.closed().await),
        Err(error) => code(error),
    }
}

fn code(error: ConnectionError) -> u64 {
    match error {
        ConnectionError::ConnectionClosed(frame) => frame.error_code.into(),
        ConnectionError::TransportError(error) => error.code.into(),
        other => panic!("{other}"),
    }
}

/// Takes every server for what it says.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
