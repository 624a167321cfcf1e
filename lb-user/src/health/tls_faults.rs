//! HTTPS checks of servers with good and bad certificates.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{
    CheckResult,
    servers::{failed, http, passed, read_header, run, run_hanging, serve},
};
use crate::config::model::{CheckKind, HttpCheck, TlsVerify};

/// An authority and the file that holds its certificate.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, directory }
    }

    fn verify(&self) -> TlsVerify {
        TlsVerify::File(self.directory.path().join("ca.pem"))
    }

    /// An HTTPS server that shows a certificate of this authority and says which name the client has asked for.
    async fn server(&self, name: &str, expired: bool) -> SocketAddr {
        let (key, mut params) = (key(), params(name));
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        server(certificate.der().clone(), &key).await
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).expect("a name")
}

async fn server(certificate: CertificateDer<'static>, key: &KeyPair) -> SocketAddr {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            let Ok(mut stream) = accepting.await else { return };
            read_header(&mut stream).await;
            let name = stream.get_ref().1.server_name().unwrap_or("none");
            let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            let _ = stream.write_all(reply.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

fn https(verify: &TlsVerify) -> CheckKind {
    CheckKind::Http(http(Some(verify.clone())))
}

#[tokio::test]
async fn a_good_certificate_passes_and_the_host_is_the_name_asked_for() {
    let authority = Authority::new("ours");
    let target = authority.server("www.example.org", false).await;
    let check = HttpCheck {
        host: Some("www.example.org:8443".into()),
        body: Some("^www.example.org$".into()),
        ..http(Some(authority.verify()))
    };
    assert_eq!(passed(&run(CheckKind::Http(check), target).await), "200");

    let target = authority.server("127.0.0.1", false).await;
    let by_address = HttpCheck { host: None, body: Some("^none$".into()), ..http(Some(authority.verify())) };
    assert_eq!(passed(&run(CheckKind::Http(by_address), target).await), "200");
}

#[tokio::test]
async fn a_bad_certificate_fails_and_says_why_unless_nothing_is_verified() {
    let authority = Authority::new("ours");
    let key = key();
    let own = params("www.example.org").self_signed(&key).expect("a certificate");
    let cases = [
        (authority.server("www.example.org", true).await, "certificate has expired"),
        (authority.server("mail.example.org", false).await, "certificate is not for www.example.org"),
        (server(own.der().clone(), &key).await, "certificate is from an unknown issuer"),
        (
            Authority::new("other").server("www.example.org", false).await,
            "certificate is from an unknown issuer",
        ),
    ];
    for (target, reason) in cases {
        assert_eq!(failed(&run(https(&authority.verify()), target).await), (reason, true));
        let by_system = run(https(&TlsVerify::System), target).await;
        assert!(!matches!(by_system, CheckResult::Success { .. }), "{reason}");
        assert_eq!(passed(&run(https(&TlsVerify::None), target).await), "200", "{reason}");
    }
}

#[tokio::test]
async fn a_server_without_tls_fails_by_its_words_or_by_the_deadline() {
    let plain = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let result = run(https(&TlsVerify::None), plain).await;
    let (reason, answered) = failed(&result);
    assert!(reason.starts_with("TLS: ") && answered, "{reason}");

    let mute = serve(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let incomplete = "timed out after 300 ms (connected, TLS handshake incomplete)";
    assert_eq!(failed(&run_hanging(https(&TlsVerify::None), mute).await), (incomplete, true));
}

#[tokio::test]
async fn a_missing_authority_file_is_our_own_fault() {
    let target = serve(|_| std::future::pending()).await;
    let verify = TlsVerify::File(PathBuf::from("/nonexistent/ca.pem"));
    match run(https(&verify), target).await {
        CheckResult::Error { reason } => assert!(reason.starts_with("/nonexistent/ca.pem: "), "{reason}"),
        other => panic!("{other:?}"),
    }
}
