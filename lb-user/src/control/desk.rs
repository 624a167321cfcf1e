//! The way from a request to the daemon and back: permission, one channel, and an audit line per write.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::{
    Call, Caller, Code, Failure, Reply, Request, Write,
    permission::{self, Operators},
};

/// Hands requests to the daemon.
#[derive(Clone, Debug)]
pub(super) struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: mpsc::Sender<Call>,
    operators: Operators,
}

impl Desk {
    pub(super) fn new(calls: mpsc::Sender<Call>, operators: Operators) -> Self {
        Self(Arc::new(Inner { calls, operators }))
    }

    /// Asks the daemon and waits for its answer.
    pub(super) async fn ask(&self, caller: Caller, request: Request) -> Result<Reply, Failure> {
        let (reply, answer) = oneshot::channel();
        let unavailable = |message| Failure::new(Code::Unavailable, message);
        let sent = self.0.calls.send(Call { request, caller, reply }).await;
        sent.map_err(|_| unavailable("the daemon is ending"))?;
        answer
            .await
            .map_err(|_| unavailable("the daemon ended before it answered; a change may be applied"))?
    }

    /// Has the daemon make a change. It runs to its end and is logged even when the client goes away.
    pub(super) async fn write(
        &self,
        caller: Caller,
        write: Write,
        if_generation: Option<u64>,
    ) -> Result<Reply, Failure> {
        let desk = self.clone();
        let done = tokio::spawn(async move {
            let text = write.to_string();
            let result = match desk.may_write(caller).await {
                true => desk.ask(caller, Request::Write { write, if_generation }).await,
                false => Err(Failure::new(
                    Code::Forbidden,
                    "changes are for root and members of the control socket's group (api.socket_group)",
                )),
            };
            audit(caller, &text, &result);
            result
        });
        done.await.unwrap_or_else(|error| Err(Failure::new(Code::Failed, error.to_string())))
    }

    async fn may_write(&self, caller: Caller) -> bool {
        let operators = self.0.operators;
        permission::may_write(caller, &[], operators)
            || tokio::task::spawn_blocking(move || {
                permission::may_write(caller, &permission::groups(caller), operators)
            })
            .await
            .unwrap_or(false)
    }
}

fn audit(caller: Caller, write: &str, result: &Result<Reply, Failure>) {
    match result {
        Ok(_) => info!(target: "xlb::audit", %caller, write, "done"),
        Err(failure) => warn!(target: "xlb::audit", %caller, write, %failure, "not done"),
    }
}
