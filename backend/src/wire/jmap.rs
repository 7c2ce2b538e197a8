//! The core of JMAP (RFC 8620): the session resource, and requests of the one method that needs no data, `Core/echo`.
//!
//! No account has capabilities yet: mail (RFC 8621) comes with the members' side of WebMail. What is here is true: a client
//! learns who it is, where requests go, and that there is nothing more.

use laniakea_directory::AccountId;
use serde::Deserialize;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

/// The only capability.
const CORE: &str = "urn:ietf:params:jmap:core";
/// Largest request; RFC 8620 §2 suggests ten million for servers that hold mail.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Calls in one request, as RFC 8620 §2 suggests.
const CALLS_MAX: usize = 16;
/// Requests a client may have under way, as RFC 8620 §2 suggests.
const CONCURRENT_MAX: u32 = 4;
/// Where requests go.
pub const API_PATH: &str = "/jmap/api";
/// Where the session resource is (RFC 8620 §2.2).
pub const SESSION_PATH: &str = "/.well-known/jmap";

/// Why a request as a whole is refused (RFC 8620 §3.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It is no JSON.
    NotJson,
    /// It is no JMAP request.
    NotRequest,
    /// It wants what is not here.
    UnknownCapability,
    /// It has too many calls.
    TooManyCalls,
    /// It is too large.
    TooLarge,
}

impl Problem {
    /// The problem as JSON (RFC 7807).
    #[must_use]
    pub fn document(self) -> Value {
        let (kind, limit) = match self {
            Self::NotJson => ("notJSON", None),
            Self::NotRequest => ("notRequest", None),
            Self::UnknownCapability => ("unknownCapability", None),
            Self::TooManyCalls => ("limit", Some("maxCallsInRequest")),
            Self::TooLarge => ("limit", Some("maxSizeRequest")),
        };
        let mut document = json!({ "type": format!("urn:ietf:params:jmap:error:{kind}"), "status": 400 });
        if let (Some(limit), Some(fields)) = (limit, document.as_object_mut()) {
            fields.insert("limit".to_owned(), limit.into());
        }
        document
    }
}

/// The session resource of an account, for a client that reached us at `base`, such as `https://mail.example.org`.
#[must_use]
pub fn session_resource(account: AccountId, login: &str, base: &str) -> Value {
    let id = account.to_string();
    json!({
        "capabilities": { CORE: {
            "maxSizeUpload": 0,
            "maxConcurrentUpload": 0,
            "maxSizeRequest": REQUEST_BYTES_MAX,
            "maxConcurrentRequests": CONCURRENT_MAX,
            "maxCallsInRequest": CALLS_MAX,
            "maxObjectsInGet": 0,
            "maxObjectsInSet": 0,
            "collationAlgorithms": [],
        } },
        "accounts": { &id: { "name": login, "isPersonal": true, "isReadOnly": false, "accountCapabilities": {} } },
        "primaryAccounts": {},
        "username": login,
        "apiUrl": format!("{base}{API_PATH}"),
        "downloadUrl": format!("{base}/jmap/download/{{accountId}}/{{blobId}}/{{name}}?accept={{type}}"),
        "uploadUrl": format!("{base}/jmap/upload/{{accountId}}/"),
        "eventSourceUrl": format!("{base}/jmap/events?types={{types}}&closeafter={{closeafter}}&ping={{ping}}"),
        "state": state(account, login),
    })
}

/// Answers a request of an account.
///
/// # Errors
/// If it cannot be carried out at all.
pub fn answer(request: &[u8], account: AccountId, login: &str) -> Result<Value, Problem> {
    let request: Value = serde_json::from_slice(request).map_err(|_| Problem::NotJson)?;
    let request: Request = serde_json::from_value(request).map_err(|_| Problem::NotRequest)?;
    if request.using.iter().any(|capability| capability != CORE) {
        return Err(Problem::UnknownCapability);
    }
    if request.method_calls.len() > CALLS_MAX {
        return Err(Problem::TooManyCalls);
    }
    let uses_core = !request.using.is_empty();
    let responses = request.method_calls.into_iter().map(|Call(method, arguments, id)| match method.as_str() {
        "Core/echo" if uses_core => json!([method, arguments, id]),
        _ => json!(["error", { "type": "unknownMethod" }, id]),
    });
    Ok(json!({ "methodResponses": responses.collect::<Vec<_>>(), "sessionState": state(account, login) }))
}

/// RFC 8620 §3.3.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    using: Vec<String>,
    method_calls: Vec<Call>,
}

/// A method, its arguments, and what the client calls the call (RFC 8620 §3.2).
#[derive(Deserialize)]
struct Call(String, serde_json::Map<String, Value>, String);

/// Changes when the session resource does (RFC 8620 §2).
fn state(account: AccountId, login: &str) -> String {
    format!("{:016x}", xxh3_64(format!("1 {account} {login}").as_bytes()))
}

/// Reads whatever the bytes hold. For fuzzing: no input may make it panic.
pub fn fuzz(bytes: &[u8]) {
    let _ = answer(bytes, AccountId(uuid::Uuid::nil()), "ann");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &str) -> Result<Value, Problem> {
        answer(request.as_bytes(), AccountId(uuid::Uuid::nil()), "ann")
    }

    #[test]
    fn an_echo_comes_back_and_what_is_unknown_is_told_by_its_call() {
        let answer = ask(
            r#"{"using":["urn:ietf:params:jmap:core"],"methodCalls":[["Core/echo",{"hello":true},"a"],["Email/get",{},"b"]]}"#,
        );
        let answer = answer.unwrap();
        assert_eq!(
            answer["methodResponses"],
            json!([["Core/echo", { "hello": true }, "a"], ["error", { "type": "unknownMethod" }, "b"]])
        );
        let session = session_resource(AccountId(uuid::Uuid::nil()), "ann", "https://mail.example.org");
        assert_eq!(answer["sessionState"], session["state"]);
        assert_eq!(session["apiUrl"], "https://mail.example.org/jmap/api");
    }

    #[test]
    fn requests_that_are_none_are_told_why() {
        let calls = vec![r#"["Core/echo",{},"a"]"#; CALLS_MAX + 1].join(",");
        for (request, problem) in [
            ("{", Problem::NotJson),
            ("[]", Problem::NotRequest),
            (r#"{"using":[],"methodCalls":[["Core/echo",[],"a"]]}"#, Problem::NotRequest),
            (r#"{"using":["urn:ietf:params:jmap:mail"],"methodCalls":[]}"#, Problem::UnknownCapability),
            (&format!(r#"{{"using":[],"methodCalls":[{calls}]}}"#), Problem::TooManyCalls),
            (&"[".repeat(10_000), Problem::NotJson),
        ] {
            assert_eq!(ask(request), Err(problem), "{request}");
        }
    }
}
