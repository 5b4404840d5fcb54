//! What a test sees of errors and of the log.

use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span;

/// How long a call is waited for.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);

/// Keeps all that is logged, and whatever is shown to it.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<String>>);

impl Seen {
    pub(super) fn see(&self, what: impl fmt::Debug) {
        writeln!(self.0.lock().unwrap(), "{what:?}").unwrap();
    }

    /// An error in all its forms, with what it comes from.
    pub(super) fn see_error(&self, error: &(dyn std::error::Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.see(format!("{error} {error:?} {error:#?}"));
            next = error.source();
        }
    }

    /// Sees what becomes of a call, and says whether it was an error. Nobody waits long for a server.
    pub(super) async fn see_call<T>(&self, call: impl Future<Output = cacheme_storage::Result<T>>) -> usize {
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(_)) => 0,
            Ok(Err(error)) => {
                self.see_error(&error);
                1
            }
            Err(_) => 1,
        }
    }
}

impl Seen {
    /// Sees what is logged on this thread, until the guard is dropped.
    pub(super) fn on_this_thread(&self) -> tracing::subscriber::DefaultGuard {
        // With one subscriber only, what another thread logs for the first time is taken for something that nobody wants,
        // since that thread has none; and so it stays. With two, all are asked.
        static ANOTHER: LazyLock<tracing::Dispatch> =
            LazyLock::new(|| tracing::Dispatch::new(Seen::default()));
        LazyLock::force(&ANOTHER);
        tracing::subscriber::set_default(self.clone())
    }

    /// All that was seen, a line each.
    pub(super) fn all(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.see((field.name(), value));
    }
}

impl tracing::Subscriber for Seen {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut self.clone());
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
