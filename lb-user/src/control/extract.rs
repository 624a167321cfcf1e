//! What handlers take from a request and how answers become responses; every refusal is a [`Failure`].

use axum::{
    Extension, Json, RequestExt, RequestPartsExt,
    body::{Body, Bytes},
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request as HttpRequest, rejection::BytesRejection,
    },
    http::{StatusCode, header, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use serde::de::DeserializeOwned;
use tokio_stream::{
    StreamExt,
    wrappers::{BroadcastStream, ReceiverStream, errors::BroadcastStreamRecvError},
};

use super::{
    Caller, Code, Failure, Readiness, Reply, Request, Write,
    desk::Desk,
    event::{Event, Feed},
};
use crate::metrics::CONTENT_TYPE;

/// What a handler returns.
pub(super) type Answer = Result<Reply, Failure>;

/// Somebody who asks.
pub(super) struct Reader {
    desk: Desk,
    caller: Caller,
}

impl Reader {
    pub(super) async fn ask(&self, request: Request) -> Answer {
        self.desk.ask(self.caller, request).await
    }
}

impl FromRequestParts<Desk> for Reader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Failure> {
        let Extension(caller) = parts.extract::<Extension<Caller>>().await.map_err(invalid)?;
        Ok(Self { desk: desk.clone(), caller })
    }
}

/// Somebody who changes something, and the generation it was seen in.
pub(super) struct Writer {
    reader: Reader,
    if_generation: Option<u64>,
}

impl Writer {
    pub(super) async fn write(self, write: Write) -> Answer {
        self.reader.desk.write(self.reader.caller, write, self.if_generation).await
    }
}

impl FromRequestParts<Desk> for Writer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Failure> {
        let if_generation = match parts.headers.get(header::IF_MATCH) {
            None => None,
            Some(value) => {
                let generation = value.to_str().ok().and_then(|text| text.trim_matches('"').parse().ok());
                Some(generation.ok_or_else(|| Failure::new(Code::Invalid, "If-Match is not a generation"))?)
            }
        };
        Ok(Self { reader: Reader::from_request_parts(parts, desk).await?, if_generation })
    }
}

/// What the path names.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Desk> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Desk) -> Result<Self, Failure> {
        let Path(named) = Path::<T>::from_request_parts(parts, &()).await.map_err(invalid)?;
        Ok(Self(named))
    }
}

/// What the query says.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Desk> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Desk) -> Result<Self, Failure> {
        let Query(asked) = Query::<T>::from_request_parts(parts, &()).await.map_err(invalid)?;
        Ok(Self(asked))
    }
}

/// A JSON body, whatever its declared type.
pub(super) struct Given<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Desk> for Given<T> {
    type Rejection = Failure;

    async fn from_request(request: HttpRequest, _: &Desk) -> Result<Self, Failure> {
        let bytes: Bytes = request.extract().await.map_err(|rejection: BytesRejection| {
            let code = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
                _ => Code::Invalid,
            };
            Failure::new(code, rejection.body_text())
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(invalid)
    }
}

fn invalid(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Invalid, error.to_string())
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status());
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(self)).into_response()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Ready(Readiness::Ready) => "ready\n".into_response(),
            Self::Ready(Readiness::NotReady(why)) => {
                (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response()
            }
            Self::Status(status) => Json(status).into_response(),
            Self::Vrrp(instances) => Json(instances).into_response(),
            Self::Changes(changes) => Json(changes).into_response(),
            Self::Events(Feed { past, live: None }) => Json(past).into_response(),
            Self::Events(Feed { past, live: Some(live) }) => {
                let events = tokio_stream::iter(past).map(Ok).chain(BroadcastStream::new(live));
                Sse::new(events.map(frame)).keep_alive(KeepAlive::default()).into_response()
            }
            Self::Explanation(explanation) => Json(explanation).into_response(),
            Self::Lines(pieces) => {
                let body = Body::from_stream(ReceiverStream::new(pieces));
                ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
            }
            Self::Metrics(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        }
    }
}

/// An event as a server-sent one; a reader that was too slow is told how many it missed.
fn frame(event: Result<Event, BroadcastStreamRecvError>) -> Result<sse::Event, axum::Error> {
    match event {
        Ok(event) => sse::Event::default().json_data(event),
        Err(BroadcastStreamRecvError::Lagged(count)) => {
            Ok(sse::Event::default().event("lost").data(count.to_string()))
        }
    }
}
