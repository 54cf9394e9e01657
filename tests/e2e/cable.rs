//! What lies between rosterd and a target: it can be cut, and it can be long.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::net::tcp::WriteHalf;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The cable between rosterd and the target.
pub(crate) struct Cable {
    /// Where rosterd finds its end: `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    whole: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Cable {
    /// To a server of this machine, with so much time until it hears what was asked.
    pub(crate) async fn to(port: u16, latency: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let (whole, state) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                lines.spawn(carried(near, port, latency, state.clone()));
            }
        });
        Self { origin, whole, _tasks: tasks }
    }

    pub(crate) fn is_whole(&self, whole: bool) {
        self.whole.send_replace(whole);
    }
}

/// One connection, until either side ends it or the cable is cut.
async fn carried(mut near: TcpStream, port: u16, latency: Duration, mut state: watch::Receiver<bool>) {
    let whole = *state.borrow_and_update();
    if let (true, Ok(mut far)) = (whole, TcpStream::connect(("127.0.0.1", port)).await) {
        let (near_in, mut near_out) = near.split();
        let (mut far_in, far_out) = far.split();
        let there = held_back(near_in, far_out, latency);
        let back = tokio::io::copy(&mut far_in, &mut near_out);
        tokio::select! {
            _ = async { tokio::join!(there, back) } => {}
            _ = state.wait_for(|whole| !whole) => {}
        }
    }
}

async fn held_back(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, latency: Duration) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(latency).await;
        if to.write_all(piece.get(..length).unwrap_or_default()).await.is_err() {
            break;
        }
    }
    to.shutdown().await.ok();
}
