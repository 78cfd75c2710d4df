//! Networks that lose packets, and networks that fall apart.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use twinmask_device::{Device, Mode};
use twinmask_ring::prf::Key;
use twinmask_tests::{DEVICE, Edge, until};

use crate::{AGAIN, Edges, NOTICED, Scene, again, input, named, report};

/// Between a device and an edge: loses one datagram in `one_in`, in both directions.
struct Lossy {
    address: SocketAddr,
    lost: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Lossy {
    fn new(edge: &str, one_in: u32, seed: &str) -> Lossy {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let back = UdpSocket::bind("127.0.0.1:0").expect("a port");
        back.connect(edge).expect("an address");
        let address = front.local_addr().expect("bound");
        let (lost, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let client = Arc::new(std::sync::Mutex::new(None::<SocketAddr>));
        for up in [true, false] {
            let (front, back) = (front.try_clone().expect("a socket"), back.try_clone().expect("a socket"));
            let (lost, over, client) = (Arc::clone(&lost), Arc::clone(&over), Arc::clone(&client));
            let (chance, from) = (Key::derive("lossy", &[seed.as_bytes()]), if up { &front } else { &back });
            from.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
            std::thread::spawn(move || {
                let (mut datagram, mut n) = (vec![0; 1 << 16], 0);
                while !over.load(Relaxed) {
                    let received = if up {
                        front.recv_from(&mut datagram).map(|(len, sender)| {
                            *client.lock().expect("no panic") = Some(sender);
                            len
                        })
                    } else {
                        back.recv(&mut datagram)
                    };
                    let Ok(len) = received else { continue };
                    n += 1;
                    if chance.elements(n * 2 + u64::from(up), 32, 1)[0] < u32::MAX / one_in {
                        lost.fetch_add(1, Relaxed);
                    } else if up {
                        let _ = back.send(&datagram[..len]);
                    } else if let Some(client) = *client.lock().expect("no panic") {
                        let _ = front.send_to(&datagram[..len], client);
                    }
                }
            });
        }
        Lossy { address, lost, over }
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// If this fails, a bad radio link gives wrong results, or none.
#[test]
fn one_datagram_in_ten_lost() {
    let scene = Scene::new();
    for mode in [Mode::Split, Mode::Relay] {
        let edges = scene.edges(mode);
        let relays = [&edges.a, &edges.b].map(|edge| Lossy::new(&edge.address, 10, &edge.address));
        let builder = Device::builder(scene.deployment.path("devices").join(DEVICE)).mode(mode);
        let device = builder.edges(relays[0].address.to_string(), relays[1].address.to_string()).build();
        let (device, runtime) = (device.expect("a device"), Runtime::new().expect("a runtime"));
        let mut took = Vec::new();
        for _ in 0..20 {
            took.push(runtime.block_on(again(&scene, &device)));
        }
        report(&format!("one datagram in ten lost, {mode:?}"), &[("inference", &took)]);
        assert!(relays.iter().all(|relay| relay.lost.load(Relaxed) > 0), "nothing was lost");
    }
}

/// Says that this process has a network of its own.
const OWN: &str = "TWINMASK_OWN_NETWORK";

/// A network of loopback alone, whose rules may come before that for local addresses.
const SETUP: &str = "ip link set lo up && ip rule add pref 10 lookup local && ip rule del pref 0";

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|out| out.status.success())
}

/// Whether `host` can be reached from now on; nobody is told of what is sent to it otherwise.
fn reachable(host: &str, is: bool) {
    assert!(ip(&["rule", if is { "del" } else { "add" }, "to", host, "blackhole", "pref", "1"]), "ip rule");
}

/// If this fails, a device hangs or blames the wrong host when a network falls apart, or does not go on by itself when
/// it is whole again. In a process of its own, in a network namespace of its own.
#[test]
fn a_network_that_falls_apart_and_comes_together() {
    const NAME: &str = "net::a_network_that_falls_apart_and_comes_together";
    if std::env::var_os(OWN).is_some() {
        return for victim in ["edge-a", "edge-b"] {
            for mode in [Mode::Split, Mode::Relay] {
                cut_off(victim, mode);
            }
        };
    }
    let here = Command::new("unshare").args(["-n", "sh", "-c", SETUP]).output();
    if !here.is_ok_and(|out| out.status.success()) {
        return eprintln!("skipped: {NAME}: no right to make a network namespace, or no ip (Debian package iproute2)");
    }
    let program = std::env::current_exe().expect("a test knows its own path");
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &format!("{SETUP} && exec \"$@\""), "sh"]).arg(program);
    let out = command.args(["--exact", NAME, "--nocapture"]).env(OWN, "1").output().expect("runs");
    let text = [out.stdout, out.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    text.lines().filter(|line| line.starts_with("fault: ")).for_each(|line| println!("{line}"));
}

/// Cuts `victim` off from the device and the other edge in the middle of inferences, then mends that.
fn cut_off(victim: &str, mode: Mode) {
    let scene = Scene::new();
    let start = |name: &str, host: &str, args: &[&str]| {
        Edge::start(Edge::command_at(name, &scene.deployment.path(name), &format!("{host}:0")).args(args))
    };
    let b = start("edge-b", "127.0.0.3", &[]);
    let relay = mode == Mode::Relay;
    let peer = ["--peer", &b.address];
    let edges = Edges { a: start("edge-a", "127.0.0.2", if relay { &peer } else { &[] }), b, relay };
    edges.await_link();
    let (device, runtime) = (scene.device(&edges, mode), Runtime::new().expect("a runtime"));
    scene.check(&runtime.block_on(device.run(input())).expect("an inference"));
    let host = if victim == "edge-a" { "127.0.0.2" } else { "127.0.0.3" };
    reachable(host, false);
    let begun = Instant::now();
    let error = loop {
        // What edge A answers may be there already.
        match runtime.block_on(device.run(input())) {
            Ok(done) => scene.check(&done),
            Err(error) => break error,
        }
        assert!(begun.elapsed() < NOTICED, "{victim} is not there, and nobody notices");
    };
    let noticed = begun.elapsed();
    assert_eq!(named(&error).0.to_string(), victim, "{error}");
    assert!(noticed < NOTICED, "{noticed:?}: {error}");
    reachable(host, true);
    let works = runtime.block_on(again(&scene, &device));
    assert!(works < AGAIN, "{works:?}");
    if relay {
        until("the edges found each other", || edges.a.metric("twinmask_peer_connected") == 1.0);
    }
    report(&format!("{victim} cut off, {mode:?}"), &[("error", &[noticed]), ("works after it was mended", &[works])]);
}
