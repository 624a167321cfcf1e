//! The HTTP and HTTPS check: one request, its status, and a body that matches. Redirects are answers, not followed.

use std::{
    collections::HashMap,
    error::Error,
    net::SocketAddr,
    pin::pin,
    sync::{Mutex, PoisonError},
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT},
    rt,
};
use hyper_util::rt::TokioIo;
use regex::bytes::Regex;

use super::{
    probe::Stage,
    result::{Fault, Passed},
    tcp,
    tls::{self, TlsConfigs},
};
use crate::config::model::HttpCheck;

/// Of the body and, apart from it, of the status line with all header fields.
const MAX_BYTES: usize = 64 * 1024;

/// Regular expressions, each compiled once and shared by all checks that use it.
#[derive(Default)]
pub(super) struct Patterns(Mutex<HashMap<String, Result<Regex, regex::Error>>>);

impl Patterns {
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, pattern: &str) -> Result<Regex, Fault> {
        let mut compiled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern));
        entry.clone().map_err(|error| Fault::Ours(error.to_string()))
    }
}

pub(super) async fn check(
    http: &HttpCheck,
    target: SocketAddr,
    configs: &TlsConfigs,
    patterns: &Patterns,
    stage: &mut Stage,
) -> Result<Passed, Fault> {
    let request = request(http, target).map_err(|error| Fault::Ours(error.to_string()))?;
    let pattern = http.body.as_deref().map(|body| patterns.get(body)).transpose()?;
    let stream = tcp::connect(target, stage).await?;
    match &http.tls {
        None => exchange(TokioIo::new(stream), request, http, pattern, stage).await,
        Some(verify) => {
            let host = http.host.as_deref();
            let stream = tls::connect(stream, host, target, verify, configs, stage).await?;
            exchange(TokioIo::new(stream), request, http, pattern, stage).await
        }
    }
}

fn request(http: &HttpCheck, target: SocketAddr) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let mut request =
        Request::builder().method(http.method.as_str()).uri(http.path.as_str()).body(Empty::new())?;
    let fields = request.headers_mut();
    for (name, value) in &http.headers {
        fields.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let host = match &http.host {
        Some(host) => HeaderValue::try_from(host)?,
        None => HeaderValue::try_from(target.to_string())?,
    };
    fields.entry(HOST).or_insert(host);
    fields.entry(USER_AGENT).or_insert(HeaderValue::from_static("xlb"));
    fields.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
    Ok(request)
}

async fn exchange(
    io: impl rt::Read + rt::Write + Unpin,
    request: Request<Empty<Bytes>>,
    http: &HttpCheck,
    pattern: Option<Regex>,
    stage: &mut Stage,
) -> Result<Passed, Fault> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BYTES)
        .handshake(io)
        .await
        .map_err(|error| in_words(&error))?;
    let mut asking = pin!(ask(sender, request, http, pattern, stage));
    tokio::select! {
        biased;
        found = &mut asking => found,
        // What it has received, or why it broke, reaches the other half.
        _ = connection => asking.await,
    }
}

async fn ask(
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    http: &HttpCheck,
    pattern: Option<Regex>,
    stage: &mut Stage,
) -> Result<Passed, Fault> {
    let response = sender.send_request(request).await.map_err(|error| in_words(&error))?;
    let status = response.status().as_u16();
    if !http.status.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        return Err(Fault::Answered(format!("status {status}, not {}", ranges(&http.status))));
    }
    if let Some(pattern) = pattern {
        *stage = Stage::Body;
        if !pattern.is_match(&body(response).await?) {
            return Err(Fault::Answered(format!("{status}, but the body does not match {pattern}")));
        }
    }
    Ok(Passed::new(status.to_string()))
}

/// The body, or its first 64 KiB.
async fn body(response: Response<Incoming>) -> Result<Vec<u8>, Fault> {
    let mut body = response.into_body();
    let mut kept = Vec::new();
    while kept.len() < MAX_BYTES
        && let Some(frame) = body.frame().await
    {
        if let Some(data) = frame.map_err(|error| in_words(&error))?.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(MAX_BYTES - kept.len())]);
        }
    }
    Ok(kept)
}

fn ranges(ranges: &[(u16, u16)]) -> String {
    let text = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Hyper's own text and that of each cause.
fn in_words(error: &hyper::Error) -> Fault {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Fault::Answered(text)
}
