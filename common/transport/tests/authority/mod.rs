//! A small CA, and servers and clients around it.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use twinmask_transport::{Client, Connection, Identity, Role, Server, TransportError, TransportLimits};

pub const DAY: i64 = 24 * 3600;
/// Long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate with these URIs and this key, valid for the days given relative to now.
    pub fn certify(&self, uris: &[String], dns: Option<&str>, key: &KeyPair, days: (i64, i64)) -> String {
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.certify_for(uris, dns, key, days, usages)
    }

    /// The same, for these purposes.
    pub fn certify_for(
        &self,
        uris: &[String],
        dns: Option<&str>,
        key: &KeyPair,
        days: (i64, i64),
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> String {
        self.certify_from_to(uris, dns, key, (days.0 * DAY, days.1 * DAY), usages)
    }

    fn certify_from_to(
        &self,
        uris: &[String],
        dns: Option<&str>,
        key: &KeyPair,
        seconds: (i64, i64),
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> String {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let at = |seconds: i64| epoch + Duration::from_secs((now_s + seconds) as u64);
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (at(seconds.0), at(seconds.1));
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())).collect();
        params.subject_alt_names.extend(dns.map(|name| SanType::DnsName(name.try_into().unwrap())));
        params.extended_key_usages = usages;
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    pub fn with_key(&self, role: &Role, key: &KeyPair, days: (i64, i64)) -> Identity {
        self.naming(&[role.uri()], role, key, days)
    }

    pub fn naming(&self, uris: &[String], role: &Role, key: &KeyPair, days: (i64, i64)) -> Identity {
        let cert = self.certify(uris, role.dns_name(), key, days);
        Identity::from_pem(cert.as_bytes(), key.serialize_pem().as_bytes(), self.pem.as_bytes()).unwrap()
    }

    pub fn lasting(&self, role: &Role, days: (i64, i64)) -> Identity {
        self.with_key(role, &KeyPair::generate().unwrap(), days)
    }

    /// An identity that ends soon.
    pub fn ending(&self, role: &Role, lasts: Duration) -> Identity {
        let key = KeyPair::generate().unwrap();
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let seconds = (-DAY, lasts.as_secs() as i64);
        let cert = self.certify_from_to(&[role.uri()], role.dns_name(), &key, seconds, usages);
        Identity::from_pem(cert.as_bytes(), key.serialize_pem().as_bytes(), self.pem.as_bytes()).unwrap()
    }

    /// The owner's list number 1 (PEM), out of its own time, with these certificates on it.
    pub fn revocations(&self, revoked: &[&Identity]) -> String {
        self.revocation_list(1, 2020, revoked)
    }

    /// The owner's list `number` (PEM), of which the next one was to come on the second day of the year.
    pub fn revocation_list(&self, number: u64, next_year: i32, revoked: &[&Identity]) -> String {
        let serials: Vec<Vec<u8>> = revoked.iter().map(|identity| identity.serial().to_vec()).collect();
        self.list_of(number, next_year, &serials)
    }

    /// The same, of serial numbers.
    pub fn list_of(&self, number: u64, next_year: i32, revoked: &[Vec<u8>]) -> String {
        let entry = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(next_year, 1, 2),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub fn issue(&self, role: &Role) -> Identity {
        self.lasting(role, (-1, 30))
    }
}

/// The serial number of a certificate (PEM).
pub fn serial(pem: &[u8]) -> Vec<u8> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).unwrap();
    pem.parse_x509().unwrap().raw_serial().to_vec()
}

pub fn device() -> Role {
    Role::device("cam-1").unwrap()
}

/// Short timeouts, so that a killed peer is noticed soon.
pub fn quick() -> TransportLimits {
    TransportLimits { keep_alive_ms: 300, idle_timeout_ms: 1500, ..TransportLimits::lan() }
}

pub async fn listen(identity: Identity, limits: TransportLimits) -> (Server, String) {
    let server = Server::bind("127.0.0.1:0", identity, limits).await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    (server, address)
}

pub async fn dial(address: &str, expected: &Role, identity: &Identity) -> Result<Connection, TransportError> {
    Client::connect(address, expected, identity, &TransportLimits::lan(), PATIENCE).await
}

/// What both sides say when `client` looks for `expected` and meets `server`.
pub async fn meet(
    server: Identity,
    client: &Identity,
    expected: &Role,
) -> (Result<Connection, TransportError>, Result<Connection, TransportError>) {
    let (mut server, address) = listen(server, TransportLimits::lan()).await;
    let (dialled, accepted) = tokio::join!(dial(&address, expected, client), server.accept());
    (dialled, accepted.unwrap())
}
