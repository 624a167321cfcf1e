//! The TCP check: a connection is accepted.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{
    probe::Stage,
    result::{Fault, Passed},
};

pub(super) async fn check(target: SocketAddr, stage: &mut Stage) -> Result<Passed, Fault> {
    connect(target, stage).await?;
    Ok(Passed::new("connected"))
}

pub(super) async fn connect(target: SocketAddr, stage: &mut Stage) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect(target).await?;
    *stage = Stage::Connected;
    Ok(stream)
}
