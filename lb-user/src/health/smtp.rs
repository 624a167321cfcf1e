//! The SMTP check: the banner and HELO are answered as RFC 5321 wants.

use std::net::SocketAddr;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::{
    probe::Stage,
    result::{Fault, Passed},
    tcp,
};

/// For everything the server says.
const MAX_BYTES: u64 = 4096;

pub(super) async fn check(helo: &str, target: SocketAddr, stage: &mut Stage) -> Result<Passed, Fault> {
    let mut stream = tcp::connect(target, stage).await?;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader.take(MAX_BYTES));
    expect(&mut reader, "banner", "220").await?;
    writer.write_all(format!("HELO {helo}\r\n").as_bytes()).await?;
    expect(&mut reader, "HELO", "250").await?;
    // Manners; whether it arrives says nothing.
    let _ = writer.write_all(b"QUIT\r\n").await;
    Ok(Passed::new("220, 250"))
}

/// Reads a reply of one or more lines (RFC 5321, section 4.2.1).
async fn expect(reader: &mut (impl AsyncBufRead + Unpin), what: &str, code: &str) -> Result<(), Fault> {
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\n") {
            return Err(Fault::Answered(format!("{what}: connection closed or too many bytes")));
        }
        let line = String::from_utf8_lossy(&line);
        let Some(rest) = line.strip_prefix(code) else {
            return Err(Fault::Answered(format!("{what}: {}", line.trim_end())));
        };
        if !rest.starts_with('-') {
            return Ok(());
        }
    }
}
