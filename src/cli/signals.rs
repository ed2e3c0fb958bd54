//! When the program is asked to stop: Ctrl-C (SIGINT) and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when the program is asked to stop. Once called for, these signals no longer end the process by themselves.
pub(super) async fn stop_asked() {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            // Without a handler the signal ends the process by itself, which is what was asked for.
            Err(error) => {
                tracing::warn!(%error, "a signal cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}
