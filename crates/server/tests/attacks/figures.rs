//! How long payments take while an attack runs at full size.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bezant_server::Limits;
use tokio::task::JoinSet;

use crate::attack::{Unreading, event_stream, idle_connections, read_all};
use crate::payer::Payer;

/// How long payments are made under each attack, from its start on.
const TIME: Duration = Duration::from_secs(8);
/// Change events that the streams read.
const MOVEMENTS: u128 = 400_000;
/// The most time that 99 of 100 payments may take.
const P99_MAX: Duration = Duration::from_millis(50);

/// An attack, which lasts until it is dropped.
type Attack = fn(SocketAddr, SocketAddr) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// The attacks, with their lines in the report.
const ATTACKS: [(&str, Attack); 6] = [
    ("no attack", |_, _| Box::pin(std::future::pending())),
    ("40 HTTP/2 connections, 128 unread /openapi.json each", |to, _| Box::pin(unread_documents(to))),
    ("250 unread event streams from 0", |to, _| Box::pin(streams(to, false))),
    ("250 event streams from 0 that are read", |to, _| Box::pin(streams(to, true))),
    ("4,300 idle connections, opened again whenever they end", |to, _| Box::pin(reconnecting(to, 4300))),
    ("1,100 idle connections to TigerBeetle's listener, likewise", |_, to| Box::pin(reconnecting(to, 1100))),
];

async fn unread_documents(to: SocketAddr) {
    let mut unreading = Vec::new();
    for _ in 0..40 {
        let mut connection = Unreading::connect(to).await;
        connection.ask("/openapi.json", 128).await;
        unreading.push(connection);
    }
    std::future::pending::<()>().await;
}

async fn streams(to: SocketAddr, are_read: bool) {
    let mut opening = JoinSet::new();
    for _ in 0..250 {
        opening.spawn(event_stream(to));
    }
    let mut unread = Vec::new();
    let mut reading = JoinSet::new();
    for stream in opening.join_all().await.into_iter().flatten() {
        if are_read {
            reading.spawn(read_all(stream));
        } else {
            unread.push(stream);
        }
    }
    std::future::pending::<()>().await;
}

async fn reconnecting(to: SocketAddr, count: usize) {
    loop {
        let idle = idle_connections(to, count).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(idle);
    }
}

/// Runs an attack on a separate thread until the sender is dropped.
fn launch(
    attack: Attack,
    http: SocketAddr,
    frames: SocketAddr,
) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (stop, stopped) = mpsc::channel::<()>();
    let running = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ended = tokio::task::spawn_blocking(move || stopped.recv());
            tokio::select! {
                () = attack(http, frames) => {}
                _ = ended => {}
            }
        });
    });
    (stop, running)
}

/// The duration that `per_mille` of a thousand do not exceed.
fn quantile(sorted: &[Duration], per_mille: usize) -> Duration {
    sorted[(sorted.len() * per_mille / 1000).min(sorted.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes, 10,000 open files and a machine with nothing else to do"]
async fn figures() {
    let server = crate::server(Limits::default()).await;
    let mut history = Payer::connect(server.address, 0).await;
    history.make_history(MOVEMENTS).await;
    println!("{:62} {:>8} {:>10} {:>10} {:>10}", "", "payments", "p50", "p99", "max");
    let mut worst = Duration::ZERO;
    for (at, (name, attack)) in ATTACKS.into_iter().enumerate() {
        let (http, frames) = (server.address, server.tigerbeetle);
        let (stop, attacking) = launch(attack, http, frames);
        let paying = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut payer = Payer::connect(http, (at as u128 + 1) << 64).await;
                payer.pay_for(TIME).await
            })
        });
        let mut took = tokio::task::spawn_blocking(|| paying.join().unwrap()).await.unwrap();
        drop(stop);
        tokio::task::spawn_blocking(|| attacking.join().unwrap()).await.unwrap();
        took.sort_unstable();
        let [p50, p99] = [500, 990].map(|per_mille| quantile(&took, per_mille));
        let max = took[took.len() - 1];
        println!("{name:62} {:>8} {p50:>10.1?} {p99:>10.1?} {max:>10.1?}", took.len());
        worst = worst.max(p99);
        // The next attack starts from the same state of the server as the first.
        crate::wait_until("the attack is over", async || {
            crate::metric(&server, "bezant_connections_open ").await <= 3
        })
        .await;
    }
    server.stop().await;
    assert!(worst < P99_MAX, "p99 is {worst:?}");
}
