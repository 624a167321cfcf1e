//! The DNS check: a query over UDP gets a reply to it without an error code.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    str::FromStr,
};

use hickory_proto::{
    ProtoError,
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};

use super::{
    probe::Stage,
    result::{Fault, Passed},
    udp,
};

/// No larger reply can come: RFC 1035, section 4.2.1, as the query offers no EDNS.
const MAX_REPLY: usize = 512;

pub(super) async fn check(
    name: &str,
    record: &str,
    target: SocketAddr,
    stage: &mut Stage,
) -> Result<Passed, Fault> {
    let query = query(name, record).map_err(|error| Fault::Ours(error.to_string()))?;
    let bytes = query.to_vec().map_err(|error| Fault::Ours(error.to_string()))?;
    let socket = udp::connect(target).await?;
    socket.send(&bytes).await?;
    *stage = Stage::Sent;
    let mut buffer = [0; MAX_REPLY];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(reply) if answers(&reply, &query) => return judge(&reply),
            // Late, forged or malformed; the right one may still come.
            Ok(_) | Err(_) => *stage = Stage::Unrelated,
        }
    }
}

fn query(name: &str, record: &str) -> Result<Message, ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    let record = RecordType::from_str(&record.to_ascii_uppercase())?;
    let mut message = Message::new();
    // Keyed anew for each query: what others cannot guess.
    let id = RandomState::new().hash_one(()) as u16;
    message.set_id(id).set_recursion_desired(true).add_query(Query::query(name, record));
    Ok(message)
}

fn answers(reply: &Message, query: &Message) -> bool {
    reply.message_type() == MessageType::Response
        && reply.id() == query.id()
        && reply.queries() == query.queries()
}

fn judge(reply: &Message) -> Result<Passed, Fault> {
    match reply.response_code() {
        ResponseCode::NoError => Ok(Passed::new("reply")),
        code => Err(Fault::Answered(code.to_str().to_lowercase())),
    }
}
