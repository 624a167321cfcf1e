//! The paths of the API and what each asks of the daemon.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request as HttpRequest},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Code, Failure, RealServerName, Request, Scope, Write,
    connections::Query,
    desk::Desk,
    explain::Question,
    extract::{Answer, Asked, Given, Named, Reader, Writer},
    rest::{AddBody, StateBody, WeightBody},
};

/// What one request may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Time until the answer begins.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 1 << 20, deadline: Duration::from_secs(10) }
    }
}

/// What the TCP listener offers.
pub(super) fn reading(desk: Desk, limits: Limits) -> Router {
    finish(reads(), desk, limits)
}

/// What the control socket offers.
pub(super) fn reading_and_writing(desk: Desk, limits: Limits) -> Router {
    finish(reads().merge(writes()), desk, limits)
}

fn reads() -> Router<Desk> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(async |reader: Reader| reader.ask(Request::Ready).await))
        .route("/metrics", get(async |reader: Reader| reader.ask(Request::Metrics).await))
        .route("/v1/version", get(version))
        .route("/v1/status", get(status))
        .route("/v1/vrrp", get(async |reader: Reader| reader.ask(Request::Vrrp).await))
        .route("/v1/diff", get(async |reader: Reader| reader.ask(Request::Diff).await))
        .route("/v1/events", get(events))
        .route("/v1/connections", get(connections))
        .route("/v1/drops", get(async |reader: Reader| reader.ask(Request::Drops).await))
        .route("/v1/explain", get(explain))
}

fn writes() -> Router<Desk> {
    const REAL_SERVERS: &str = "/v1/virtual_servers/{virtual_server}/real_servers";
    const REAL_SERVER: &str = "/v1/virtual_servers/{virtual_server}/real_servers/{real_server}";
    Router::new()
        .route(REAL_SERVERS, post(add))
        .route(REAL_SERVER, delete(remove))
        .route(&format!("{REAL_SERVER}/weight"), put(set_weight))
        .route(&format!("{REAL_SERVER}/state"), put(set_state))
        .route("/v1/overrides", delete(revert_everything))
        .route("/v1/overrides/{virtual_server}", delete(revert_virtual_server))
        .route("/v1/overrides/{virtual_server}/{real_server}", delete(revert_real_server))
        .route("/v1/vrrp/release", post(async |writer: Writer| writer.write(Write::Release(None)).await))
        .route("/v1/vrrp/{instance}/release", post(release))
        .route("/v1/reload", post(async |writer: Writer| writer.write(Write::Reload).await))
        .route("/v1/unload", post(async |writer: Writer| writer.write(Write::Unload).await))
}

fn finish(router: Router<Desk>, desk: Desk, limits: Limits) -> Router {
    router
        .fallback(async || Failure::new(Code::NoRoute, "no such path in this version of xlb"))
        .method_not_allowed_fallback(async || {
            Failure::new(Code::MethodNotAllowed, "this path does not take this method")
        })
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(middleware::from_fn(move |request: HttpRequest, next: Next| async move {
            let answer = tokio::time::timeout(limits.deadline, next.run(request)).await;
            answer.unwrap_or_else(|_| late(limits.deadline).into_response())
        }))
        .with_state(desk)
}

fn late(deadline: Duration) -> Failure {
    let deadline = humantime::format_duration(deadline);
    Failure::new(Code::Deadline, format!("no answer in {deadline}; a change may still be applied"))
}

/// Healthy is a daemon that answers, whatever it says.
async fn healthz(reader: Reader) -> Result<&'static str, Failure> {
    reader.ask(Request::Ready).await.map(|_| "ok\n")
}

async fn version() -> Response {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    virtual_server: Option<String>,
}

async fn status(reader: Reader, Asked(StatusQuery { virtual_server }): Asked<StatusQuery>) -> Answer {
    reader.ask(Request::Status { virtual_server }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    follow: bool,
}

async fn events(reader: Reader, Asked(EventsQuery { follow }): Asked<EventsQuery>) -> Answer {
    reader.ask(Request::Events { follow }).await
}

async fn connections(reader: Reader, Asked(query): Asked<Query>) -> Answer {
    reader.ask(Request::Connections(query)).await
}

async fn explain(reader: Reader, Asked(question): Asked<Question>) -> Answer {
    reader.ask(Request::Explain(question)).await
}

async fn set_weight(
    writer: Writer,
    Named(real_server): Named<RealServerName>,
    Given(WeightBody { weight }): Given<WeightBody>,
) -> Answer {
    writer.write(Write::SetWeight { real_server, weight }).await
}

async fn set_state(
    writer: Writer,
    Named(real_server): Named<RealServerName>,
    Given(state): Given<StateBody>,
) -> Answer {
    let write = match state {
        StateBody::Enabled {} => Write::Enable(real_server),
        StateBody::Disabled {} => Write::Disable(real_server),
        StateBody::Drain { timeout } => Write::Drain { real_server, timeout },
    };
    writer.write(write).await
}

async fn add(
    writer: Writer,
    Named(virtual_server): Named<String>,
    Given(AddBody { address, weight, name }): Given<AddBody>,
) -> Answer {
    writer.write(Write::Add { virtual_server, address, weight, name }).await
}

async fn remove(writer: Writer, Named(real_server): Named<RealServerName>) -> Answer {
    writer.write(Write::Remove(real_server)).await
}

async fn release(writer: Writer, Named(instance): Named<String>) -> Answer {
    writer.write(Write::Release(Some(instance))).await
}

async fn revert_everything(writer: Writer) -> Answer {
    writer.write(Write::Revert(Scope::Everything)).await
}

async fn revert_virtual_server(writer: Writer, Named(name): Named<String>) -> Answer {
    writer.write(Write::Revert(Scope::VirtualServer(name))).await
}

async fn revert_real_server(writer: Writer, Named(name): Named<RealServerName>) -> Answer {
    writer.write(Write::Revert(Scope::RealServer(name))).await
}
