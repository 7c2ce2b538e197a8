//! What a client is told when its request goes nowhere.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER},
};

use super::body::AnswerBody;

/// When to come again: a takeover takes about a second, a directory that restarts a few.
const RETRY_AFTER_SECONDS: &str = "5";

/// Why a request goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It can be read in two ways, or in none.
    Malformed(&'static str),
    /// Nothing here has that method.
    Method,
    /// Its body is larger than any message.
    TooLarge,
    /// Its body comes too slowly.
    TooSlow,
    /// It would send credentials in the clear: here is where to ask instead, if anywhere.
    Insecure(Option<String>),
    /// The account lives at a server that has no web service.
    NotHere,
    /// It has been here too often.
    Loop,
    /// Nobody knows where the account lives, or nobody there can be reached, for the moment.
    Unavailable,
    /// Somebody took it and fell silent: nobody knows what became of it.
    Lost,
}

impl Refusal {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Method => "method",
            Self::TooLarge => "too-large",
            Self::TooSlow => "too-slow",
            Self::Insecure(_) => "insecure",
            Self::NotHere => "not-here",
            Self::Loop => "loop",
            Self::Unavailable => "unavailable",
            Self::Lost => "lost",
        }
    }

    /// The response.
    #[must_use]
    pub fn response(&self) -> Response<AnswerBody> {
        let (status, text) = match self {
            Self::Malformed(what) => (StatusCode::BAD_REQUEST, *what),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "no such method here"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body is too slow"),
            Self::Insecure(Some(_)) => (StatusCode::PERMANENT_REDIRECT, "use https"),
            Self::Insecure(None) => (StatusCode::FORBIDDEN, "use https: nothing of an account is sent in the clear"),
            Self::NotHere => (StatusCode::MISDIRECTED_REQUEST, "this account lives at a server without a web service"),
            Self::Loop => (StatusCode::LOOP_DETECTED, "the request goes in a circle"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "the account cannot be reached now; try again"),
            Self::Lost => (StatusCode::BAD_GATEWAY, "the answer was lost; the request may have been carried out"),
        };
        let body = Full::new(Bytes::from(format!("{text}\n"))).map_err(|never| match never {});
        let mut response = Response::new(AnswerBody::ours(body.boxed()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self {
            Self::Unavailable => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))),
            Self::Insecure(Some(there)) => {
                if let Ok(there) = HeaderValue::from_str(there) {
                    headers.insert(LOCATION, there);
                }
            }
            _ => {}
        }
        response
    }
}
