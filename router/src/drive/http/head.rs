//! The heads of requests and responses on their way through: what is refused, what is left out, what is added. Pure.
//!
//! A head is never passed on as it came. It was parsed; what concerns one connection alone is left out (RFC 9110 §7.6.1), what
//! only we may say is said by us, and the length of a body follows from the body. So no two readers can differ about where a
//! message ends.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    ext::Protocol as ConnectProtocol,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE, VIA,
    },
    http::{request, response, uri::Authority},
};

use super::refusal::Refusal;
use crate::drive::foreign::HOPS_MAX;

/// Names of fields that begin like this are a matter between routers and members.
const OURS: &str = "laniakea-";
/// The field in which a member names the account that a browser is from now on.
pub const ACCOUNT_FIELD: &str = "laniakea-account";
/// Fields that concern one connection, whether or not Connection names them.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, CONTENT_LENGTH];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// What proxies say of their clients.
const OF_CLIENTS: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Longest name of a host, with its port (RFC 1035 §2.3.4).
const AUTHORITY_BYTES_MAX: usize = 262;

/// Who asks, as far as the next server is to know.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The client.
    pub client: SocketAddr,
    /// Whether its connection is encrypted.
    pub is_encrypted: bool,
    /// Whether what it says of others is believed: it is a proxy of the site.
    pub is_believed: bool,
}

/// What a request is, once it has been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A question and its answer.
    Exchange,
    /// A WebSocket over HTTP/1.1 (RFC 6455).
    Upgrade,
    /// A WebSocket over HTTP/2 (RFC 8441).
    Connect,
}

/// Refuses what nobody can serve, and what two servers could read in two ways.
///
/// # Errors
/// With the answer.
pub fn examine(head: &request::Parts) -> Result<Kind, Refusal> {
    let headers = &head.headers;
    // RFC 9112 §6.1: most likely somebody tries to smuggle.
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::Malformed("both Content-Length and Transfer-Encoding"));
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(Refusal::Malformed("more than one Content-Length"));
    }
    let passed = headers.get_all(VIA).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if passed.count() > usize::from(HOPS_MAX) {
        return Err(Refusal::Loop);
    }
    authority(head)?;
    match head.method {
        Method::CONNECT => match head.extensions.get::<ConnectProtocol>() {
            Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => Ok(Kind::Connect),
            _ => Err(Refusal::Method),
        },
        // It would show credentials to scripts that may not see them.
        Method::TRACE => Err(Refusal::Method),
        Method::GET if head.version == Version::HTTP_11 && asks_for_websocket(headers) => Ok(Kind::Upgrade),
        _ => Ok(Kind::Exchange),
    }
}

/// The host that is asked for (RFC 9112 §3.2, RFC 9113 §8.3.1). HTTP/1.0 need not say.
///
/// # Errors
/// If it is not said once.
pub fn authority(head: &request::Parts) -> Result<Option<Authority>, Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Refusal::Malformed("more than one Host"));
    }
    let host = match host.map(|value| Authority::try_from(value.as_bytes())) {
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return Err(Refusal::Malformed("Host is no host")),
        None => None,
    };
    // What stands in the target counts, whatever Host says.
    let named = head.uri.authority().cloned().or(host);
    match named {
        Some(named) if named.as_str().len() > AUTHORITY_BYTES_MAX || named.as_str().contains('@') => {
            Err(Refusal::Malformed("Host is no host"))
        }
        None if head.version == Version::HTTP_11 || head.version == Version::HTTP_2 => {
            Err(Refusal::Malformed("no Host"))
        }
        named => Ok(named),
    }
}

/// Makes the head of the request for the next server, which speaks HTTP/1.1.
///
/// # Errors
/// If the target cannot be written.
pub fn onward(head: &request::Parts, kind: Kind, asker: &Asker, router: &str) -> Result<request::Parts, Refusal> {
    let host = authority(head)?;
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let uri = Uri::try_from(target).map_err(|_| Refusal::Malformed("the target is no path"))?;
    let method = if kind == Kind::Connect { Method::GET } else { head.method.clone() };
    let (mut next, ()) = hyper::Request::new(()).into_parts();
    (next.method, next.uri, next.headers) = (method, uri, head.headers.clone());
    leave_out(&mut next.headers);
    let headers = &mut next.headers;
    headers.remove(EXPECT);
    join_cookies(headers);
    let host_value = host.as_ref().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    headers.insert(HOST, host_value.clone().unwrap_or(HeaderValue::from_static("")));
    introduce(headers, asker, host_value);
    if let Ok(via) = HeaderValue::from_str(&format!("{} {router}", version(head.version))) {
        headers.append(VIA, via);
    }
    if kind != Kind::Exchange {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(next)
}

/// What HTTP/1.1 wants of a WebSocket, and HTTP/2 leaves out (RFC 8441 §5).
pub fn begin_websocket(head: &mut request::Parts, key: &str) {
    if let Ok(key) = HeaderValue::from_str(key) {
        head.headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    head.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
}

/// Makes the head of a response to `method` fit for the client; returns the account that the member named.
pub fn back(head: &mut response::Parts, kind: Kind, method: &Method) -> Option<HeaderValue> {
    let account = head.headers.remove(ACCOUNT_FIELD);
    // The answer to HEAD tells the length of what it leaves out (RFC 9110 §9.3.2); all others get theirs from their body.
    let length = head.headers.get(CONTENT_LENGTH).filter(|_| method == Method::HEAD).cloned();
    leave_out(&mut head.headers);
    if let Some(length) = length {
        head.headers.insert(CONTENT_LENGTH, length);
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        match kind {
            Kind::Connect => {
                head.status = StatusCode::OK;
                head.headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
            Kind::Upgrade | Kind::Exchange => {
                head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
        }
    }
    account
}

/// Whether a request may be made again when nobody knows what became of it (RFC 9110 §9.2.2).
#[must_use]
pub fn is_repeatable(method: &Method) -> bool {
    method.is_idempotent() && *method != Method::CONNECT
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let names = |field: HeaderName, token: &str| {
        let values = headers.get_all(field).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        values.into_iter().any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    names(CONNECTION, "upgrade") && names(UPGRADE, "websocket")
}

/// Leaves out what concerns one connection, what Connection names, and what is between routers and members.
fn leave_out(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // A client must not make us drop what others rely on.
        .filter(|name| *name != HOST && *name != hyper::header::AUTHORIZATION && *name != COOKIE)
        .collect();
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    for name in HOP_BY_HOP.into_iter().chain([KEEP_ALIVE, PROXY_CONNECTION]).chain(named).chain(ours) {
        while headers.remove(&name).is_some() {}
    }
}

/// HTTP/2 may send cookies one by one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Says who the client is. What it says itself counts only if it is a proxy of the site.
fn introduce(headers: &mut HeaderMap, asker: &Asker, host: Option<HeaderValue>) {
    if !asker.is_believed {
        for name in &OF_CLIENTS {
            while headers.remove(name).is_some() {}
        }
    }
    let proto = if asker.is_encrypted { "https" } else { "http" };
    let ip = asker.client.ip();
    // RFC 7239 §6: an IPv6 address is bracketed and quoted.
    let node = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    };
    let mut add = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.append(name, value);
        }
    };
    add(FORWARDED, &format!("for={node};proto={proto}"));
    add(FORWARDED_FOR, &ip.to_string());
    if asker.is_believed && headers.contains_key(FORWARDED_PROTO) {
        return;
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    if let Some(host) = host {
        headers.insert(FORWARDED_HOST, host);
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

#[cfg(test)]
#[path = "head_test.rs"]
mod tests;
