use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::*;

/// Runs `work` on a host, in a thread of its own.
fn on<T: Send>(host: &Host, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let moved = || {
            on_host(host).unwrap();
            work()
        };
        scope.spawn(moved).join().unwrap()
    })
}

/// Whether `from` is greeted by `to` at last: a cable that was plugged in takes a moment.
fn greets(from: &Host, to: &Host) -> bool {
    (0..10).any(|_| greets_at_once(from, to))
}

/// Whether `to` greets `from` within the deadline.
fn greets_at_once(from: &Host, to: &Host) -> bool {
    let address = SocketAddr::new(to.address(), 7000);
    on(to, || {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let asked = || {
            on_host(from).unwrap();
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(700)).ok()?;
            stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
            let mut greeting = [0; 5];
            stream.read_exact(&mut greeting).ok()?;
            Some(greeting)
        };
        thread::scope(|scope| {
            let asking = scope.spawn(asked);
            while !asking.is_finished() {
                if let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.write_all(b"hello");
                }
                thread::sleep(Duration::from_millis(5));
            }
            asking.join().unwrap().is_some()
        })
    })
}

#[test]
fn hosts_hear_each_other_until_a_cable_is_cut() {
    if !are_possible().unwrap() {
        return;
    }
    let mut network = Network::new().unwrap();
    let (a, b, c) = (network.host("a").unwrap(), network.host("b").unwrap(), network.host("c").unwrap());
    assert!(greets(&a, &b) && greets(&b, &a) && greets(&c, &b));
    a.part_from(&b).unwrap();
    assert!(!greets_at_once(&a, &b) && greets(&c, &b) && greets(&a, &c));
    a.hear_all().unwrap();
    b.hear_all().unwrap();
    assert!(greets(&a, &b));
    b.unplug().unwrap();
    assert!(!greets_at_once(&a, &b) && !greets_at_once(&c, &b) && greets(&a, &c));
    b.plug().unwrap();
    assert!(greets(&a, &b));
    b.slow_down(64).unwrap();
    assert!(greets(&a, &b));
    b.speed_up().unwrap();
}

#[test]
fn a_power_failure_ends_every_process_and_every_mount_of_a_host() {
    if !are_possible().unwrap() {
        return;
    }
    let mut network = Network::new().unwrap();
    let mut host = network.host("a").unwrap();
    let other = network.host("b").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    host.run("mount", &["-t", "tmpfs", "none", path]).unwrap();
    host.run("touch", &[&format!("{path}/mark")]).unwrap();
    assert!(host.root().unwrap().join(format!("{}/mark", &path[1..])).exists());
    assert!(!folder.path().join("mark").exists(), "a mount of the host is seen here");
    assert_eq!(host.run("hostname", &[]).unwrap().trim(), "a");
    let mut sleeper = host.spawn(host.command("sleep").unwrap().arg("1000")).unwrap();
    assert!(sleeper.try_wait().unwrap().is_none());

    host.power_off().unwrap();
    assert!(!sleeper.wait().unwrap().success());
    assert!(host.run("true", &[]).is_err());

    host.power_on().unwrap();
    assert!(host.run("ls", &[&format!("{path}/mark")]).is_err());
    assert!(greets(&other, &host));
}

#[test]
fn a_host_has_clocks_of_its_own() {
    if !are_possible().unwrap() {
        return;
    }
    let mut network = Network::new().unwrap();
    let host = network.host_with_clock("a", 100_000_000).unwrap();
    let uptime: f64 = host.run("cut", &["-d.", "-f1", "/proc/uptime"]).unwrap().trim().parse().unwrap();
    assert!(uptime > 99_000_000.0, "{uptime}");
}
