//! Verification of a server's certificate without a certificate authority: by its fingerprint, or not at all.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, ring::cipher_suite::TLS13_AES_128_GCM_SHA256, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// The SHA-256 fingerprint of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of `certificate`.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        // The hash function of the TLS provider, which is linked anyway.
        let suite = TLS13_AES_128_GCM_SHA256
            .tls13()
            .expect("a TLS 1.3 suite is one");
        let digest = suite.common.hash_provider.hash(certificate);
        Self(
            digest
                .as_ref()
                .try_into()
                .expect("SHA-256 gives 32 bytes, always"),
        )
    }

    /// Creates a fingerprint from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    /// Writes 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Error of a text that is not a SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, with or without a colon after every two: {0:?}")]
pub struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Parses 64 hexadecimal digits, with or without colons, as openssl and browsers print them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FingerprintError(text.chars().take(100).collect());
        let digits: Vec<u32> = text
            .trim()
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::try_from(pair[0] * 16 + pair[1]).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Which certificates are accepted.
#[derive(Debug)]
enum Rule {
    Pinned(Fingerprint),
    Any,
}

/// Verifies a server's certificate without its chain. That the server has the private key is always verified.
#[derive(Debug)]
pub(super) struct ChainlessVerifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

impl ChainlessVerifier {
    /// Accepts only the certificate with this fingerprint, whatever its names and dates.
    pub(super) fn pinned(fingerprint: Fingerprint, provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self {
            rule: Rule::Pinned(fingerprint),
            provider,
        })
    }

    /// Accepts any certificate.
    pub(super) fn any(provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self {
            rule: Rule::Any,
            provider,
        })
    }
}

impl ServerCertVerifier for ChainlessVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.rule {
            Rule::Pinned(wanted) if Fingerprint::of(end_entity) != wanted => Err(
                Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure),
            ),
            Rule::Pinned(_) | Rule::Any => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum`
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_fingerprint_is_the_sha_256_of_the_certificate_s_bytes() {
        let fingerprint = Fingerprint::of(&CertificateDer::from(&b"abc"[..]));
        assert_eq!(fingerprint.to_string(), ABC);
    }

    #[test]
    fn a_fingerprint_is_read_as_openssl_prints_it_and_as_we_do() {
        let plain: Fingerprint = ABC.parse().unwrap();
        let colons: Vec<String> = ABC
            .to_uppercase()
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).into_owned())
            .collect();
        assert_eq!(colons.join(":").parse(), Ok(plain));
        assert_eq!(plain.to_string().parse(), Ok(plain));
    }

    #[test]
    fn what_is_not_a_fingerprint_is_refused() {
        for text in [
            "",
            "ba78",
            &ABC[1..],
            &format!("{ABC}00"),
            &ABC.replace('b', "g"),
            "é",
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
