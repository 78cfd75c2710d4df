//! The TLS library's cryptography.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring::cipher_suite};

use crate::kx::X25519MlKem768;

/// The ring provider, with the cheapest cipher of this processor first (AES-128-GCM where it has the instructions, else
/// ChaCha20-Poly1305) and one key exchange. For this crate, and for tests that play peers which are not ours.
#[doc(hidden)]
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        let aes = cipher_suite::TLS13_AES_128_GCM_SHA256;
        let chacha = cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
        let cipher_suites = if has_aes() { vec![aes, chacha] } else { vec![chacha, aes] };
        Arc::new(CryptoProvider {
            cipher_suites,
            kx_groups: vec![&X25519MlKem768],
            ..rustls::crypto::ring::default_provider()
        })
    });
    provider.clone()
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}
