//! One loop for both listeners: accept, say who it is, serve HTTP, end on shutdown.
//!
//! Not `axum::serve`: that waits for ever for a request's headers and takes any number of connections.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::Caller;

/// Connections at one time; more wait in the listener's backlog.
const CONNECTIONS: usize = 256;

/// Time for a request's headers, and for what is under way when the daemon ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listener that knows who comes.
pub(super) trait Doorman: Listener {
    /// None when the kernel does not say.
    fn caller(io: &Self::Io, address: &Self::Addr) -> Option<Caller>;
}

impl Doorman for UnixListener {
    fn caller(io: &Self::Io, _: &Self::Addr) -> Option<Caller> {
        let peer = io.peer_cred().ok()?;
        Some(Caller::Process { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() })
    }
}

impl Doorman for TcpListener {
    fn caller(_: &Self::Io, address: &Self::Addr) -> Option<Caller> {
        Some(Caller::Network(*address))
    }
}

/// Serves until shutdown, then lets what is under way finish.
pub(super) async fn serve<L: Doorman>(mut listener: L, router: Router, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let Some(Some((permit, (io, address)))) = shutdown.run_until_cancelled(next).await else { break };
        let Some(caller) = L::caller(&io, &address) else { continue };
        let router = router.clone().layer(Extension(caller));
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            connection::<L>(io, router, shutdown).await;
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection<L: Doorman>(io: L::Io, router: Router, shutdown: CancellationToken) {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(router))
    );
    let ended = match shutdown.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a control connection ended early");
    }
}
