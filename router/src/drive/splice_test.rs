use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const LONG: Duration = Duration::from_secs(600);

/// Two ends of one loopback connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// A client and a member with a splice between them.
async fn spliced(unread: &[u8]) -> (TcpStream, TcpStream, tokio::task::JoinHandle<SpliceReport>) {
    let (client, a) = pair().await;
    let (b, member) = pair().await;
    let unread = unread.to_vec();
    let task = tokio::spawn(splice(Stream::plain(a), Stream::plain(b), LONG, unread, Vec::new()));
    (client, member, task)
}

#[tokio::test]
async fn unread_bytes_come_first_and_both_halves_end_alone() {
    let (mut client, mut member, task) = spliced(b"a2 SELECT INBOX\r\n").await;
    client.write_all(b"a3 NOOP\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    member.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "a2 SELECT INBOX\r\na3 NOOP\r\n");
    // The member's half is still open.
    member.write_all(b"* BYE\r\n").await.unwrap();
    drop(member);
    heard.clear();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "* BYE\r\n");
    let report = task.await.unwrap();
    assert_eq!((report.forth, report.back), (26, 7));
    assert!(matches!(report.ended, Ended::Closed));
}

#[tokio::test]
async fn a_slow_reader_gets_every_byte_in_order() {
    let (mut client, mut member, task) = spliced(b"").await;
    let sent: Vec<u8> = (0..8_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        member.write_all(&sent).await.unwrap();
        member.shutdown().await.unwrap();
        member
    });
    // Nothing is read until the pipe is full.
    tokio::task::yield_now().await;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert!(heard == expected);
    drop((client, writer.await.unwrap()));
    assert_eq!(task.await.unwrap().back, 8_000_000);
}

#[tokio::test]
async fn last_words_arrive_though_the_other_way_is_broken() {
    let (mut client, mut member, task) = spliced(b"").await;
    member.write_all(b"* BYE\r\n").await.unwrap();
    drop(member);
    // Nobody takes this any more.
    while client.write_all(&[b'x'; 65536]).await.is_ok() {
        let mut heard = [0; 7];
        if client.read_exact(&mut heard).await.is_ok() {
            assert_eq!(&heard, b"* BYE\r\n");
            break;
        }
    }
    drop(client);
    task.await.unwrap();
}

#[tokio::test]
async fn a_broken_side_ends_both() {
    let (mut client, member, task) = spliced(b"").await;
    // Closing with unread bytes resets the connection.
    client.write_all(b"never read").await.unwrap();
    member.readable().await.unwrap();
    drop(member);
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard).await;
    drop(client);
    task.await.unwrap();
}

#[tokio::test]
async fn silence_ends_the_connection() {
    let (client, a) = pair().await;
    let (b, member) = pair().await;
    let short = Duration::from_millis(5);
    let report = splice(Stream::plain(a), Stream::plain(b), short, Vec::new(), Vec::new()).await;
    assert!(matches!(report.ended, Ended::Idle));
    drop((client, member));
}

/// As [`spliced`], with the splice already told to stop.
async fn stopping(farewell: &'static str) -> (TcpStream, TcpStream, tokio::task::JoinHandle<SpliceReport>) {
    let (client, a) = pair().await;
    let (b, member) = pair().await;
    let pair = Pair { a: Stream::plain(a), a_unread: Vec::new(), b: Stream::plain(b), b_unread: Vec::new() };
    let task = tokio::spawn(splice_until(pair, LONG, std::future::ready(()), farewell));
    (client, member, task)
}

#[tokio::test]
async fn a_quiet_connection_that_is_to_stop_ends_with_a_farewell() {
    let (mut client, mut member, task) = stopping("* BYE\r\n").await;
    client.write_all(b"a1 NOOP\r\n").await.unwrap();
    let mut heard = String::new();
    member.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "a1 NOOP\r\n");
    // What was asked before is answered, however long it takes.
    tokio::time::sleep(QUIET * 2).await;
    member.write_all(b"a1 OK\r\n").await.unwrap();
    drop(member);
    heard.clear();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "a1 OK\r\n* BYE\r\n");
    drop(client);
    assert!(matches!(task.await.unwrap().ended, Ended::Closed));
}

#[tokio::test]
async fn a_farewell_never_stands_in_the_middle_of_something() {
    let (mut client, mut member, _task) = stopping("* BYE\r\n").await;
    member.write_all(b"* 1 FETCH (BODY[] {99}\r\nSubject: h").await.unwrap();
    drop(member);
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert!(heard.ends_with("Subject: h"), "{heard}");
}
