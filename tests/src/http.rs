//! A small HTTP client over plain sockets: one that counts, keeps connections open and streams bodies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

/// How long to wait for a connection, and for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that may carry several requests.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    /// Connects from the namespace of the calling thread.
    pub fn open(server: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect_timeout(&server, PATIENCE).with_context(|| format!("connect to {server}"))?;
        Self::over(stream, server)
    }

    /// The same from one of the addresses that the namespace has.
    pub fn open_from(client: IpAddr, server: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((client, 0)).into()).with_context(|| format!("bind to {client}"))?;
        socket
            .connect_timeout(&server.into(), PATIENCE)
            .with_context(|| format!("connect from {client} to {server}"))?;
        Self::over(socket.into(), server)
    }

    /// How long to wait for each piece of an answer from now on.
    pub fn wait_for(&self, patience: Duration) -> Result<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(patience))?)
    }

    fn over(stream: TcpStream, server: SocketAddr) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host: server })
    }

    /// The address that this end has.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Asks for `path` and returns the body as text; any status but 200 is an error.
    pub fn get(&mut self, path: &str) -> Result<String> {
        let mut body = Vec::new();
        self.fetch(path, &mut body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Asks for `path`, streams the body into `sink` and returns its length.
    pub fn fetch(&mut self, path: &str, sink: &mut impl Write) -> Result<u64> {
        let length = self.request(path)?;
        let copied = std::io::copy(&mut self.stream.by_ref().take(length), sink).context("body")?;
        ensure!(copied == length, "the body ended after {copied} of {length} bytes");
        Ok(length)
    }

    /// Sends a request and returns the length of the body that follows.
    fn request(&mut self, path: &str) -> Result<u64> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes()).context("request")?;
        let status = self.line()?;
        ensure!(status.split(' ').nth(1) == Some("200"), "answer: {status}");
        let mut length = None;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse()?);
            }
        }
        length.context("an answer without content-length")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("answer")? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One request over a connection of its own.
pub fn get(server: SocketAddr, path: &str) -> Result<String> {
    Connection::open(server)?.get(path)
}

/// Makes `requests` requests for `/`, each over a new connection, and counts the answers; the first failure ends it.
pub fn count(server: SocketAddr, requests: u32) -> Result<BTreeMap<String, u32>> {
    let mut answers = BTreeMap::new();
    for number in 1..=requests {
        let answer = get(server, "/").with_context(|| format!("request {number} of {requests}"))?;
        *answers.entry(answer.trim().to_owned()).or_default() += 1;
    }
    Ok(answers)
}
