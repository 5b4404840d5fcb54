use std::time::Duration;

use tokio::sync::Semaphore;

/// How long a test waits for somebody to come. Where time is paused that is over once nothing else can happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// A place where a test holds whatever comes by.
#[derive(Debug)]
pub struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self {
            arrived: Semaphore::new(0),
            open: Semaphore::new(0),
        }
    }

    /// Waits in front of the gate until it is open.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        let open = self
            .open
            .acquire()
            .await
            .expect("gates are never closed for good");
        drop(open);
    }

    /// Returns when one more has come to the gate.
    ///
    /// # Panics
    ///
    /// When nobody comes.
    pub async fn reached(&self) {
        let arrived = tokio::time::timeout(PATIENCE, self.arrived.acquire()).await;
        let arrived = arrived.expect("somebody comes to the gate");
        arrived.expect("gates are never closed for good").forget();
    }

    /// Lets everybody pass from now on.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
