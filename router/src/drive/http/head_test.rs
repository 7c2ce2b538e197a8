//! What is refused, left out and added.

use super::*;

fn request(version: Version, target: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = hyper::Request::builder().version(version).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn asker(is_believed: bool) -> Asker {
    Asker { client: "192.0.2.7:4711".parse().unwrap(), is_encrypted: true, is_believed }
}

fn passed(fields: &[(&str, &str)], is_believed: bool) -> HeaderMap {
    let head = request(Version::HTTP_11, "/", &[&[("host", "mail.example.org")], fields].concat());
    onward(&head, examine(&head).unwrap(), &asker(is_believed), "router-1").unwrap().headers
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn what_concerns_one_connection_is_left_out() {
    let headers = passed(
        &[
            ("connection", "close, X-Private, Authorization"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("proxy-authorization", "Basic eA=="),
            ("laniakea-account", "6f3c1c7e-6b0b-4f0e-9b56-3f6a2a5d9a10"),
            ("authorization", "Basic eA=="),
            ("accept", "*/*"),
        ],
        false,
    );
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    // Whoever names Authorization in Connection does not make us forget who they are.
    let expected = [
        "accept",
        "authorization",
        "forwarded",
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    assert_eq!(names, expected);
    assert_eq!(all(&headers, "via"), ["1.1 router-1"]);
}

#[test]
fn what_a_client_says_of_itself_counts_only_from_a_proxy_of_the_site() {
    let said = [("forwarded", "for=10.0.0.1"), ("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1")];
    let headers = passed(&said, false);
    assert_eq!(all(&headers, "forwarded"), ["for=192.0.2.7;proto=https"]);
    assert_eq!(all(&headers, "x-forwarded-for"), ["192.0.2.7"]);
    assert!(!headers.contains_key("x-real-ip"));
    let headers = passed(&said, true);
    assert_eq!(all(&headers, "forwarded"), ["for=10.0.0.1", "for=192.0.2.7;proto=https"]);
    assert_eq!(all(&headers, "x-forwarded-for"), ["10.0.0.1", "192.0.2.7"]);
}

#[test]
fn what_two_servers_could_read_in_two_ways_is_refused() {
    let malformed = |fields: &[(&str, &str)]| {
        let head = request(Version::HTTP_11, "/", fields);
        assert!(matches!(examine(&head), Err(Refusal::Malformed(_))), "{fields:?}");
    };
    let host = ("host", "mail.example.org");
    malformed(&[host, ("content-length", "5"), ("transfer-encoding", "chunked")]);
    malformed(&[host, ("content-length", "5"), ("content-length", "5")]);
    malformed(&[host, ("host", "other.example.org")]);
    malformed(&[]);
    malformed(&[("host", "eve@mail.example.org")]);
    malformed(&[("host", "mail example.org")]);
    malformed(&[("host", &"x".repeat(300))]);
    let old = request(Version::HTTP_10, "/", &[]);
    assert_eq!(examine(&old), Ok(Kind::Exchange));
}

#[test]
fn the_target_counts_and_goes_on_as_a_path() {
    let head = request(Version::HTTP_11, "http://mail.example.org:8080/a?b=c", &[("host", "other.example.org")]);
    let next = onward(&head, Kind::Exchange, &asker(false), "router-1").unwrap();
    assert_eq!(
        (next.uri.to_string(), all(&next.headers, "host")),
        ("/a?b=c".to_owned(), vec!["mail.example.org:8080"])
    );
}

#[test]
fn cookies_that_came_one_by_one_go_on_together() {
    let head = request(Version::HTTP_2, "https://mail.example.org/", &[("cookie", "a=1"), ("cookie", "b=2")]);
    let next = onward(&head, Kind::Exchange, &asker(false), "router-1").unwrap();
    assert_eq!(all(&next.headers, "cookie"), ["a=1; b=2"]);
    assert_eq!(all(&next.headers, "via"), ["2 router-1"]);
}

#[test]
fn circles_end_and_tunnels_are_for_websockets_alone() {
    let host = ("host", "mail.example.org");
    let round = request(Version::HTTP_11, "/", &[host, ("via", "1.1 a, 1.1 b, 1.1 c"), ("via", "1.1 d, 1.1 e")]);
    assert_eq!(examine(&round), Err(Refusal::Loop));
    for method in [Method::CONNECT, Method::TRACE] {
        let mut head = request(Version::HTTP_11, "mail.example.org:443", &[host]);
        head.method = method;
        assert_eq!(examine(&head), Err(Refusal::Method));
    }
    let fields = [host, ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
    assert_eq!(examine(&request(Version::HTTP_11, "/", &fields)), Ok(Kind::Upgrade));
    let mut head = request(Version::HTTP_2, "https://mail.example.org/ws", &[]);
    head.method = Method::CONNECT;
    head.extensions.insert(ConnectProtocol::from_static("websocket"));
    assert_eq!(examine(&head), Ok(Kind::Connect));
    let next = onward(&head, Kind::Connect, &asker(false), "router-1").unwrap();
    assert_eq!((next.method, all(&next.headers, "upgrade")), (Method::GET, vec!["websocket"]));
}
