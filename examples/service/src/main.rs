//! `cargo run -p service`, and with `REDIS_URL=redis://localhost:6379` for a cache that several of them share.

use std::time::Duration;

use service::App;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = std::env::var("REDIS_URL").ok();
    let app = App::new("sqlite::memory:", redis.as_deref()).await?;
    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&address).await?;
    println!(
        "http://{} (try /users/1, /orgs/1/posts, /flags/beta, /stats)",
        listener.local_addr()?
    );
    axum::serve(listener, service::router(app.clone()))
        .with_graceful_shutdown(stop())
        .await?;
    // Loads and changes under way end, leases are given back, connections are closed.
    app.cacheme.close(Duration::from_secs(5)).await?;
    Ok(())
}

/// Ctrl-C, or what a supervisor sends.
async fn stop() {
    let ctrl_c = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = ctrl_c => {}
                _ = terminate.recv() => {}
            },
            Err(_) => _ = ctrl_c.await,
        }
    }
    #[cfg(not(unix))]
    let _ = ctrl_c.await;
}
