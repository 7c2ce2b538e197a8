//! Clients that mean no good, or know no better: the embedded server answers, or lets them go, and goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use std::time::Duration;

use laniakea_directory::Admin;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use world::{BASE, World};

/// A simple bind as nobody, then the root DSE.
const BIND: &[u8] = &[0x30, 0x0c, 0x02, 0x01, 0x01, 0x60, 0x07, 0x02, 0x01, 0x03, 0x04, 0x00, 0x80, 0x00];

/// Sends bytes and returns what comes back until the server closes, or falls silent.
async fn send(world: &World, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    // The server may close in the middle.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_millis(300), socket.read_to_end(&mut answer)).await;
    answer
}

async fn still_works(world: &World) {
    let (code, out) = world.admin("ldapsearch", &["-b", BASE, "-s", "base", "1.1"], "").await;
    assert_eq!(code, 0, "{out}");
}

/// A pseudo-random sequence that is the same in every run.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_be_bytes()[0])
    })
}

fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], length.as_slice(), content].concat()
}

/// A search at the base with this filter.
fn search(filter: &[u8]) -> Vec<u8> {
    let head = [ber(4, BASE.as_bytes()), vec![10, 1, 2, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0]].concat();
    let request = ber(0x63, &[head, filter.to_vec(), ber(0x30, &[])].concat());
    ber(0x30, &[vec![2, 1, 7], request].concat())
}

#[tokio::test]
async fn garbage_ends_its_own_connection_alone() {
    let world = World::start().await;
    for seed in 0..200 {
        let bytes: Vec<u8> = noise(seed).take(1 + usize::try_from(seed).unwrap() * 7).collect();
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        let _ = socket.write_all(&bytes).await;
    }
    for text in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "EHLO x\r\n", "a001 LOGIN x y\r\n", "\x16\x03\x01\x02\x00\x01"] {
        send(&world, text.as_bytes()).await;
    }
    still_works(&world).await;
    world.stop().await;
}

#[tokio::test]
async fn a_damaged_message_is_refused_wherever_it_is_damaged() {
    let world = World::start().await;
    let good = [BIND.to_vec(), search(&ber(0x87, b"objectClass"))].concat();
    let mut tasks = Vec::new();
    for at in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= change;
            let address = world.address;
            tasks.push(tokio::spawn(async move {
                let mut socket = TcpStream::connect(address).await.unwrap();
                let _ = socket.write_all(&bad).await;
                let mut answer = [0; 64];
                let _ = timeout(Duration::from_millis(100), socket.read(&mut answer)).await;
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    still_works(&world).await;
    world.stop().await;
}

#[tokio::test]
async fn huge_and_deep_messages_are_not_read_to_the_end() {
    let world = World::start().await;
    // A length of 2 GiB, and then some bytes.
    let announced = [vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], vec![0; 300_000]].concat();
    let answer = send(&world, &announced).await;
    assert!(answer.windows(22).any(|w| w == b"1.3.6.1.4.1.1466.20036"), "a notice of disconnection: {answer:?}");
    // Lengths of lengths, and indefinite length.
    for bytes in [vec![0x30, 0x80, 0, 0], vec![0x30, 0xff], vec![0x30, 0x88, 255, 255, 255, 255, 255, 255, 255, 255]] {
        send(&world, &bytes).await;
    }
    // NOT NOT NOT …, 5,000 deep.
    let deep = (0..5000).fold(ber(0x87, b"cn"), |filter, _| ber(0xa2, &filter));
    send(&world, &search(&deep)).await;
    // The same within what the codec allows, and many parts side by side.
    let allowed = (0..40).fold(ber(0x87, b"cn"), |filter, _| ber(0xa2, &filter));
    assert!(!send(&world, &[BIND, &search(&allowed)].concat()).await.is_empty());
    let wide = ber(0xa1, &ber(0x87, b"cn").repeat(4000));
    assert!(!send(&world, &[BIND, &search(&wide)].concat()).await.is_empty());
    still_works(&world).await;
    world.stop().await;
}

#[tokio::test]
async fn half_open_connections_and_half_sent_messages_disturb_nobody() {
    let world = World::start().await;
    let mut open = Vec::new();
    for n in 0..300 {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        socket.write_all(&BIND[..n % BIND.len()]).await.unwrap();
        open.push(socket);
    }
    // Somebody who asks and never reads.
    for _ in 0..5 {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        let requests = search(&ber(0x87, b"objectClass")).repeat(2000);
        let _ = timeout(Duration::from_millis(200), socket.write_all(&requests)).await;
        open.push(socket);
    }
    still_works(&world).await;
    drop(open);
    still_works(&world).await;
    world.stop().await;
}

#[tokio::test]
async fn plain_text_behind_start_tls_is_never_run_inside_it() {
    let world = World::start().await;
    let start_tls = ber(0x30, &[vec![2, 1, 1], ber(0x77, &ber(0x80, b"1.3.6.1.4.1.1466.20037"))].concat());
    let answer = send(&world, &[start_tls, search(&ber(0x87, b"objectClass"))].concat()).await;
    assert!(answer.windows(22).any(|w| w == b"1.3.6.1.4.1.1466.20036"), "a notice of disconnection: {answer:?}");
    still_works(&world).await;
    world.stop().await;
}

#[tokio::test]
async fn a_server_killed_at_any_moment_has_what_it_confirmed() {
    let world = World::start().await;
    let admin = Admin::connect(&world.client()).await.unwrap();
    for round in 0..5 {
        let ldif = format!("dn: uid=round{round},{BASE}\nobjectClass: account\n");
        assert_eq!(world.admin("ldapadd", &[], &ldif).await.0, 0);
        // What a killed process leaves is what its file holds now, in the midst of other changes.
        let (changing, crashed) = tokio::join!(admin.prepare(), world.copy_as_if_killed());
        changing.unwrap();
        let (_, out) = crashed.admin("ldapsearch", &["-b", BASE, "(uid=round*)", "1.1"], "").await;
        assert!(out.contains(&format!("numEntries: {}", round + 1)), "{out}");
        crashed.stop().await;
    }
    world.stop().await;
}
