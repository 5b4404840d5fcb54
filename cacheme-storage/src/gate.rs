use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Error, Result};

/// Lets operations through until it closes; closing waits for those that are under way.
#[derive(Debug)]
pub(crate) struct Gate(Semaphore);

/// One operation under way.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'a>(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>);

impl Gate {
    const MOST: u32 = 1 << 20;

    pub(crate) fn new() -> Self {
        Self(Semaphore::new(Self::MOST as usize))
    }

    /// Goes through, unless the gate is closed.
    pub(crate) async fn enter(&self, location: &str) -> Result<Pass<'_>> {
        match self.0.acquire().await {
            Ok(permit) => Ok(Pass(permit)),
            Err(_) => Err(Error::Unreachable {
                storage: location.into(),
                source: "the storage was closed".into(),
            }),
        }
    }

    /// Waits until everyone is out, and lets nobody in any more. Closing twice is no mistake.
    pub(crate) async fn close(&self) {
        // The semaphore is fair: whoever comes now queues behind this and is turned away once it is closed.
        if let Ok(all) = self.0.acquire_many(Self::MOST).await {
            self.0.close();
            drop(all);
        }
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
            error.to_string(),
            "storage here cannot be reached: the storage was closed"
        );
        gate.close().await;
    }
}
