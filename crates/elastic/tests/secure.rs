//! The edge over TLS: credentials come as headers, and nothing is sent to a host that is not who it should be. The certificates are
//! made by `tls/make.sh`.
#![allow(clippy::unwrap_used, reason = "tests")]

use axum::Router;
use axum::http::HeaderMap;
use axum::serve::Listener;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use weir_elastic::{Elastic, ElasticSettings, ErrorKind};

/// The `authorization` header of each request; empty where it had none.
type Seen = Arc<Mutex<Vec<String>>>;

struct Tls(TcpListener, TlsAcceptor);

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, peer)) = self.0.accept().await else { continue };
            // A client that does not trust it goes away.
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// An engine with this certificate that takes every request.
async fn engine(certificate: &str) -> (String, Seen) {
    let chain = CertificateDer::pem_slice_iter(&std::fs::read(file(&format!("{certificate}.pem"))).unwrap())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(file(&format!("{certificate}.key"))).unwrap()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let log = seen.clone();
    let handler = move |headers: HeaderMap| {
        let header = headers.get("authorization").map(|header| header.to_str().unwrap().to_owned());
        log.lock().unwrap().push(header.unwrap_or_default());
        async { r#"{"cluster_name":"c","version":{"number":"9.5.3"}}"# }
    };
    let tls = Tls(listener, TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move { axum::serve(tls, Router::new().fallback(handler)).await.unwrap() });
    (url, seen)
}

fn settings(url: &str, authority: Option<&str>) -> ElasticSettings {
    ElasticSettings {
        elasticsearch_timeout: Duration::from_secs(5),
        elasticsearch_ca_file: authority.map(|name| file(&format!("{name}.pem"))),
        ..ElasticSettings::of(&[url])
    }
}

/// A file with a secret in it.
fn secret(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{text}\n")).unwrap();
    file
}

#[tokio::test]
async fn a_user_and_a_key_come_as_headers_to_a_host_whose_authority_is_named() {
    let (url, seen) = engine("server").await;
    let (password, key) = (secret("pass word"), secret("a2V5OnNlY3JldA=="));
    let plain = settings(&url, Some("authority"));
    let basic = ElasticSettings {
        elasticsearch_username: Some("weir".to_owned()),
        elasticsearch_password_file: Some(password.path().to_owned()),
        ..plain.clone()
    };
    let with_key = ElasticSettings { elasticsearch_api_key_file: Some(key.path().to_owned()), ..plain.clone() };
    for settings in [plain, basic, with_key] {
        assert_eq!(Elastic::new(&settings).unwrap().info().await.unwrap().version, "9.5.3");
    }
    // weir:pass word
    assert_eq!(*seen.lock().unwrap(), ["", "Basic d2VpcjpwYXNzIHdvcmQ=", "ApiKey a2V5OnNlY3JldA=="]);
}

#[tokio::test]
async fn a_host_that_is_not_who_it_should_be_sees_no_request() {
    for (certificate, authority) in [("server", Some("stranger")), ("server", None), ("misnamed", Some("authority"))] {
        let (url, seen) = engine(certificate).await;
        let error = Elastic::new(&settings(&url, authority)).unwrap().info().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{certificate} {authority:?}: {error}");
        assert!(error.to_string().to_lowercase().contains("certificate"), "{certificate} {authority:?}: {error}");
        assert!(seen.lock().unwrap().is_empty());
    }
}
