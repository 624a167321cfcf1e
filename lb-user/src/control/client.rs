//! Asks a running daemon over its control socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{
    Changes, Code, Failure, Write,
    connections::Query,
    event::Event,
    explain::{Explanation, Question},
    rest,
    status::{Status, Vrrp},
};

/// Longer than the daemon's own deadline, so that its answer is what people see.
const PATIENCE: Duration = Duration::from_secs(15);

/// A daemon, by its socket. Every request is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("cannot reach the daemon at {}: {reason}", socket.display())]
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl ClientError {
    /// The exit code of the command that asked.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } => 3,
            Self::Refused(failure) => failure.code.exit_code(),
        }
    }
}

impl Client {
    /// A daemon that listens there; nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Everything, or one virtual server.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable, or does not know the virtual server.
    pub async fn status(&self, virtual_server: Option<&str>) -> Result<Status, ClientError> {
        match virtual_server {
            None => self.get("/v1/status").await,
            Some(name) => self.get(&format!("/v1/status?virtual_server={}", rest::segment(name))).await,
        }
    }

    /// Every VRRP instance.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable.
    pub async fn vrrp(&self) -> Result<Vec<Vrrp>, ClientError> {
        self.get("/v1/vrrp").await
    }

    /// What a reload would change.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable, or the file has errors.
    pub async fn diff(&self) -> Result<Changes, ClientError> {
        self.get("/v1/diff").await
    }

    /// What happened lately, oldest first.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable.
    pub async fn events(&self) -> Result<Vec<Event>, ClientError> {
        self.get("/v1/events").await
    }

    /// What happened lately, and then what happens.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable.
    pub async fn follow(&self) -> Result<Follow, ClientError> {
        let response = self.send(Method::GET, "/v1/events?follow=true", None, None).await?;
        Ok(Follow { client: self.clone(), body: response.into_body(), buffer: Vec::new() })
    }

    /// Connections, as they are found.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable, or does not know a name.
    pub async fn connections(&self, query: &Query) -> Result<Lines, ClientError> {
        self.lines(&format!("/v1/connections{}", query.encoded())).await
    }

    /// Packets that are dropped from now on.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable, or too many watch already.
    pub async fn drops(&self) -> Result<Lines, ClientError> {
        self.lines("/v1/drops").await
    }

    /// What would become of a packet.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable, or cannot imagine the packet.
    pub async fn explain(&self, question: &Question) -> Result<Explanation, ClientError> {
        self.get(&format!("/v1/explain{}", question.encoded())).await
    }

    async fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let response = self.send(Method::GET, path, None, None).await?;
        Ok(Lines { client: self.clone(), body: response.into_body(), buffer: Vec::new(), read: 0 })
    }

    /// Changes something, with `if_generation` only if nobody else has changed anything since.
    ///
    /// # Errors
    ///
    /// The daemon is not reachable, or refuses.
    pub async fn write(&self, write: &Write, if_generation: Option<u64>) -> Result<Changes, ClientError> {
        let (method, path, body) = rest::encode(write);
        self.json(method, &path, body, if_generation).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, None, None).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        if_generation: Option<u64>,
    ) -> Result<T, ClientError> {
        let exchange = async {
            let response = self.send(method, path, body, if_generation).await?;
            let bytes = response.into_body().collect().await.map_err(|error| self.broken(&error))?.to_bytes();
            serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| {
            let patience = humantime::format_duration(PATIENCE);
            Err(self.unreachable(format!("it took the request and did not answer in {patience}")))
        })
    }

    /// The response when it is a good one, else its failure.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        if_generation: Option<u64>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(advice(&error)))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // Its error, if any, is also the request's.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "xlb");
        if let Some(generation) = if_generation {
            request = request.header(header::IF_MATCH, format!("\"{generation}\""));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::<Bytes>::from(body.map(|body| body.to_string()).unwrap_or_default());
        let request = request.body(body).map_err(|error| self.broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| self.broken(&error))?.to_bytes();
        let failure = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Failure::new(Code::Failed, format!("the daemon answered {status}")));
        Err(failure.into())
    }

    fn unreachable(&self, reason: String) -> ClientError {
        ClientError::Unreachable { socket: self.socket.clone(), reason }
    }

    fn broken(&self, error: &dyn std::error::Error) -> ClientError {
        self.unreachable(format!("the exchange broke off: {error}"))
    }

    /// Where the daemon is looked for.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such socket; start it with `xlb run` or name another with -s".to_owned()
        }
        io::ErrorKind::ConnectionRefused => {
            "the daemon that made this socket is dead; start it again with `xlb run`".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; use root or a member of the socket's group (api.socket_group)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// JSON objects, one to a line.
#[derive(Debug)]
pub struct Lines {
    client: Client,
    body: Incoming,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given out.
    read: usize,
}

impl Lines {
    /// The next one; none at the end.
    ///
    /// # Errors
    ///
    /// The connection breaks, or what comes is not a `T`.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            let rest = &self.buffer[self.read..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let parsed = serde_json::from_slice(&rest[..length]);
                self.read += length + 1;
                return parsed.map(Some).map_err(|error| self.client.broken(&error));
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(|error| self.client.broken(&error))?;
                    self.buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                }
            }
        }
    }
}

/// One line of the story that `xlb events -f` tells.
#[derive(Debug)]
pub enum Followed {
    /// It happened.
    Event(Event),
    /// This many were lost, because they were not read quickly enough.
    Lost(u64),
}

/// A stream of events.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Follow {
    /// The next one; none when the daemon ends.
    ///
    /// # Errors
    ///
    /// The connection breaks, or what comes is not an event.
    pub async fn next(&mut self) -> Result<Option<Followed>, ClientError> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(followed) = parse(&block).map_err(|error| self.client.broken(&error))? {
                    return Ok(Some(followed));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(|error| self.client.broken(&error))?;
                    self.buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                }
            }
        }
    }
}

/// One block of a server-sent event stream; none for a comment that keeps the connection alive.
fn parse(block: &[u8]) -> Result<Option<Followed>, serde_json::Error> {
    let text = String::from_utf8_lossy(block);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    match (field("event: "), field("data: ")) {
        (_, None) => Ok(None),
        (Some("lost"), Some(count)) => serde_json::from_str(count).map(|count| Some(Followed::Lost(count))),
        (_, Some(data)) => serde_json::from_str(data).map(|event| Some(Followed::Event(event))),
    }
}
