use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, Result};

/// Lets operations through until it closes; closing waits for those that are under way.
#[derive(Debug)]
pub(crate) struct Gate {
    passes: Semaphore,
    /// Has no permits, and is closed when closing begins.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    open: Semaphore,
}

/// One operation under way.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'a>(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>);

impl Gate {
    const MOST: u32 = 1 << 20;

    pub(crate) fn new() -> Self {
        Self {
            passes: Semaphore::new(Self::MOST as usize),
            #[cfg(any(feature = "redis", feature = "postgres"))]
            open: Semaphore::new(0),
        }
    }

    /// Goes through, unless the gate is closed.
    pub(crate) async fn enter(&self, location: &str) -> Result<Pass<'_>> {
        match self.passes.acquire().await {
            Ok(permit) => Ok(Pass(permit)),
            Err(_) => Err(closed(location)),
        }
    }

    /// Runs what goes on for as long as the storage is open, and nobody waits for. Gives how it ended, or that closing
    /// began.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    pub(crate) async fn while_open(&self, location: &str, work: impl Future<Output = Error>) -> Error {
        use futures_util::future::{Either, select};

        // Never gives a permit: there is none.
        let closing = std::pin::pin!(self.open.acquire());
        match select(closing, std::pin::pin!(work)).await {
            Either::Left(_) => closed(location),
            Either::Right((ended, _)) => ended,
        }
    }

    /// Waits until everyone is out, and lets nobody in any more. Closing twice is no mistake.
    pub(crate) async fn close(&self) {
        #[cfg(any(feature = "redis", feature = "postgres"))]
        self.open.close();
        // The semaphore is fair: whoever comes now queues behind this and is turned away once it is closed.
        if let Ok(all) = self.passes.acquire_many(Self::MOST).await {
            self.passes.close();
            drop(all);
        }
    }
}

fn closed(location: &str) -> Error {
    Error::Unreachable {
        storage: location.into(),
        source: "the storage was closed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closing_waits_for_those_inside_and_turns_others_away() {
        let gate = Gate::new();
        let pass = gate.enter("here").await.unwrap();
        let mut closing = Box::pin(gate.close());
        tokio::select! {
            biased;
            () = &mut closing => panic!("closed with somebody inside"),
            () = std::future::ready(()) => {}
        }
        drop(pass);
        closing.await;
        let error = gate.enter("here").await.unwrap_err();
        assert_eq!(
            crate::error::Chain(&error).to_string(),
            "storage here cannot be reached: the storage was closed"
        );
        gate.close().await;
    }
}
