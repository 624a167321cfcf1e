//! The daemon's ears: HTTP on the control socket, and its reading half on the TCP listener.

use nix::unistd::Uid;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

pub use super::routes::Limits;
use super::{Call, connection, desk::Desk, permission::Operators, routes, socket::ControlSocket};

/// Serves until shutdown; what is under way then may finish. The socket's file is removed at the end.
pub async fn serve(
    socket: ControlSocket,
    listener: Option<TcpListener>,
    limits: Limits,
    calls: mpsc::Sender<Call>,
    shutdown: CancellationToken,
) {
    let ControlSocket { listener: control, group, file } = socket;
    let desk = Desk::new(calls, Operators { uid: Uid::effective().as_raw(), gid: group });
    let writing = routes::reading_and_writing(desk.clone(), limits);
    let reading = routes::reading(desk, limits);
    let on_tcp = async {
        if let Some(listener) = listener {
            connection::serve(listener, reading, shutdown.clone()).await;
        }
    };
    tokio::join!(connection::serve(control, writing, shutdown.clone()), on_tcp);
    drop(file);
}
