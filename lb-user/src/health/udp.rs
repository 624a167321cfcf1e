//! The UDP check: a datagram draws no ICMP error, or the reply that is wanted.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::{
    probe::Stage,
    result::{Fault, Passed},
};

pub(super) async fn check(
    payload: &[u8],
    require_reply: bool,
    target: SocketAddr,
    stage: &mut Stage,
) -> Result<Passed, Fault> {
    let socket = connect(target).await?;
    socket.send(payload).await?;
    *stage = if require_reply { Stage::Sent } else { Stage::Listening };
    // The content does not matter: what does not fit is cut off.
    socket.recv(&mut [0; 1]).await?;
    Ok(Passed::new("reply"))
}

/// A socket that hears only `target` and its ICMP errors.
pub(super) async fn connect(target: SocketAddr) -> Result<UdpSocket, Fault> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}
