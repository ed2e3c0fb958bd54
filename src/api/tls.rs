//! TLS on the server's side: the files it proves itself with, and the handshake, which has as long as the head of a request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::Family;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as RustlsError, ServerConfig};

use crate::config::Tls;

/// Why the server cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file holds no certificate, or cannot be read.
    #[error("no certificate can be read from {path}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: PemError,
    },
    /// A file holds no private key, or cannot be read.
    #[error("no private key can be read from {path}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: PemError,
    },
    /// They do not go together, or are of a kind that is not known.
    #[error("the certificate {certificate} and the private key {key} cannot be used",
        certificate = certificate.display(), key = key.display())]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The cause.
        #[source]
        source: RustlsError,
    },
}

impl TlsError {
    /// The family: what is configured is wrong.
    pub fn family(&self) -> Family {
        Family::Malformed
    }
}

/// What takes handshakes; nothing where TLS is not configured.
///
/// # Errors
/// [`TlsError`].
pub(super) fn acceptor(tls: &Tls) -> Result<Option<TlsAcceptor>, TlsError> {
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else { return Ok(None) };
    let unusable =
        |source| TlsError::Unusable { certificate: certificate.clone(), key: key.clone(), source };
    let chain = certificates(certificate)?;
    let proof = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsError::Key { path: key.clone(), source })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, proof)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Certificate { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(wrong(PemError::NoItemsFound));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    fn made() -> CertifiedKey<rcgen::KeyPair> {
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate")
    }

    #[test]
    fn bad_files_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("room");
            path
        };
        let (one, other) = (made(), made());
        let certificate = file("certificate", &one.cert.pem());
        let key = file("key", &one.signing_key.serialize_pem());
        let other = file("other", &other.signing_key.serialize_pem());
        let empty = file("empty", "");
        let nowhere = folder.path().join("nowhere");
        let of = |certificate: &Path, key: &Path| {
            let (certificate, key) = (Some(certificate.to_owned()), Some(key.to_owned()));
            acceptor(&Tls { certificate, key }).map(|acceptor| acceptor.is_some())
        };
        assert!(matches!(of(&certificate, &key), Ok(true)));
        for wrong in [&nowhere, &empty, &key] {
            assert!(matches!(of(wrong, &key), Err(TlsError::Certificate { .. })), "{wrong:?}");
        }
        for wrong in [&nowhere, &empty, &certificate] {
            assert!(matches!(of(&certificate, wrong), Err(TlsError::Key { .. })), "{wrong:?}");
        }
        assert!(matches!(of(&certificate, &other), Err(TlsError::Unusable { .. })));
        assert!(acceptor(&Tls { certificate: None, key: None }).expect("nothing wrong").is_none());
    }
}
