//! TLS for checks: one client configuration for each way of verifying, and what goes wrong in plain words.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{probe::Stage, result::Fault};
use crate::config::model::TlsVerify;

type Built = Result<Arc<ClientConfig>, String>;

/// Built at first use, shared by all checks.
#[derive(Default)]
pub(super) struct TlsConfigs(Mutex<HashMap<TlsVerify, Built>>);

impl TlsConfigs {
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, verify: &TlsVerify) -> Built {
        let mut built = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        built.entry(verify.clone()).or_insert_with(|| build(verify)).clone()
    }
}

/// A TLS session over `stream` with a server that has shown to be `host`, or the target's address without one.
pub(super) async fn connect(
    stream: TcpStream,
    host: Option<&str>,
    target: SocketAddr,
    verify: &TlsVerify,
    configs: &TlsConfigs,
    stage: &mut Stage,
) -> Result<TlsStream<TcpStream>, Fault> {
    let config = configs.get(verify).map_err(Fault::Ours)?;
    let name = match host {
        Some(host) => {
            let host = without_port(host);
            ServerName::try_from(host.to_owned())
                .map_err(|_| Fault::Ours(format!("{host}: not a name for TLS")))?
        }
        None => ServerName::from(target.ip()),
    };
    *stage = Stage::Handshake;
    let session = TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Fault::Answered(in_words(error)),
            None => error.into(),
        }
    })?;
    *stage = Stage::Connected;
    Ok(session)
}

/// `www.example.org:8443` and `[2001:db8::1]:8443` name hosts without their ports.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn build(verify: &TlsVerify) -> Built {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match verify {
        TlsVerify::System => builder.with_root_certificates(system_roots()?),
        TlsVerify::File(path) => builder.with_root_certificates(roots_of(path)?),
        TlsVerify::None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would not show a certificate that has expired since.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(found.certs).0 == 0 {
        let reason = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("the system has no certificate authorities{reason}"));
    }
    Ok(roots)
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let failed = |reason: String| format!("{}: {reason}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("no certificates".to_owned()));
    }
    Ok(roots)
}

fn in_words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(reason) = error else { return format!("TLS: {error}") };
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName => "certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("certificate is not for {}", expected.to_str())
        }
        CertificateError::UnknownIssuer => "certificate is from an unknown issuer".to_owned(),
        other => format!("certificate: {other}"),
    }
}

/// `tls_verify = "none"`: any certificate will do, the handshake's signatures still have to be right.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_the_name() {
        for (host, name) in [
            ("www.example.org", "www.example.org"),
            ("www.example.org:8443", "www.example.org"),
            ("[2001:db8::1]:8443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
