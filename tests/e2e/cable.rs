//! What lies between rosterd and a target: it can be cut, and it can be long.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::net::tcp::WriteHalf;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How a request that changes something begins: connections carry one request after another, each
/// written at once.
const CHANGES: [&[u8]; 4] = [b"POST ", b"PUT ", b"PATCH ", b"DELETE "];

/// The cable between rosterd and the target.
pub(crate) struct Cable {
    /// Where rosterd finds its end: `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    whole: watch::Sender<bool>,
    /// Told of each request that changes something as it comes in at rosterd's end.
    changes: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Cable {
    /// To a server of this machine, with at least so much time from a request to its answer: each piece
    /// waits for half of it, either way.
    pub(crate) async fn to(port: u16, latency: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let (whole, state) = watch::channel(true);
        let changes = Arc::new(Notify::new());
        let heard = Arc::clone(&changes);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                lines.spawn(carried(near, port, latency / 2, state.clone(), Arc::clone(&heard)));
            }
        });
        Self { origin, whole, changes, _tasks: tasks }
    }

    /// The next request that changes something is on its way.
    pub(crate) async fn hears_a_change(&self) {
        self.changes.notified().await;
    }

    pub(crate) fn is_whole(&self, whole: bool) {
        self.whole.send_replace(whole);
    }
}

/// One connection, until either side ends it or the cable is cut.
async fn carried(
    mut near: TcpStream,
    port: u16,
    latency: Duration,
    mut state: watch::Receiver<bool>,
    heard: Arc<Notify>,
) {
    let whole = *state.borrow_and_update();
    if let (true, Ok(mut far)) = (whole, TcpStream::connect(("127.0.0.1", port)).await) {
        let (near_in, near_out) = near.split();
        let (far_in, far_out) = far.split();
        let there = held_back(near_in, far_out, latency, |piece| {
            if CHANGES.iter().any(|method| piece.starts_with(method)) {
                heard.notify_waiters();
            }
        });
        let back = held_back(far_in, near_out, latency, |_| ());
        tokio::select! {
            _ = async { tokio::join!(there, back) } => {}
            _ = state.wait_for(|whole| !whole) => {}
        }
    }
}

async fn held_back(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, latency: Duration, hears: impl Fn(&[u8])) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let piece = piece.get(..length).unwrap_or_default();
        hears(piece);
        tokio::time::sleep(latency).await;
        if to.write_all(piece).await.is_err() {
            break;
        }
    }
    to.shutdown().await.ok();
}
