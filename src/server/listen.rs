//! The listener: connections, their limits, and an end that lets answers out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once. A page and a few commands need a handful; what is over waits in the
/// kernel's queue.
const CONNECTIONS: usize = 256;

/// Longest time for the head of a request, the wait of an idle connection included.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// Most bytes of the head of a request, and most lines in it.
const HEAD_BYTES: usize = 64 << 10;
const HEAD_LINES: usize = 64;

/// How long answers under way may take after the end was asked for.
const GRACE: Duration = Duration::from_secs(20);

/// Answers on `listener` until `cancel`, then lets answers under way out.
///
/// # Assumptions
/// Requests that wait for a cycle end only when the engine does, so both are stopped together.
///
/// # Errors
/// Where the listener is not on loopback: nobody signs in here, so nobody else may come near.
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let message = format!("`{address}` can be reached from elsewhere, and without sign-in only loopback is safe");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let connections = TaskTracker::new();
    let kill = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(stream) = cancel.run_until_cancelled(accept(&listener, &slots)).await {
        let (stream, slot) = stream;
        let connection = answer(stream, router.clone(), cancel.clone());
        let kill = kill.clone();
        connections.spawn(async move {
            kill.run_until_cancelled(connection).await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are cut: their answers took too long");
        kill.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                // Out of file handles, mostly: at once again would spin.
                tracing::warn!(error = %error, "a connection could not be taken");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, cancel: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    builder.max_buf_size(HEAD_BYTES).max_headers(HEAD_LINES);
    let service = TowerToHyperService::new(router);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = if let Some(ended) = cancel.run_until_cancelled(connection.as_mut()).await {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        // The other side went away or sent what is not HTTP: its own affair.
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::sync::Notify;

    use super::*;

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn an_answer_under_way_is_let_out_after_the_end_was_asked_for() {
        let begun = Arc::new(Notify::new());
        let go_on = Arc::new(Notify::new());
        let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go_on));
        let handler = get(|| async move {
            tell.notify_one();
            wait.notified().await;
            "done"
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let served = tasks.spawn(serve(listener, Router::new().route("/", handler), cancel.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        begun.notified().await;
        cancel.cancel();
        go_on.notify_one();
        let text = read_to_end(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("done"), "{text}");
        served.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let served = tasks.spawn(serve(listener, Router::new(), cancel.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let lines = "x: 1\r\n".repeat(HEAD_LINES + 1);
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes()).await.unwrap();
        let text = read_to_end(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 431"), "{text}");
        cancel.cancel();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_that_others_can_reach_is_refused() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let error = serve(listener, Router::new(), CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
