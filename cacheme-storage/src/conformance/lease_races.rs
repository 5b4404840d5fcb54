//! Leases asked for, filled and taken away at the same time.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::leases::TIME;
use super::{Case, Failure, Outcome, bytes, token};
use crate::contract::lease::{Acquired, Filled};
use crate::error::Error;

cases![
    concurrent_askers_get_one_lease,
    a_fill_never_survives_a_remove,
    a_fill_never_overwrites_a_set,
];

async fn concurrent_askers_get_one_lease(case: Case) -> Outcome {
    for round in 0..10 {
        let key = case.key(round.to_string());
        let askers: Vec<_> = (0..16)
            .map(|_| {
                let (case, key) = (case.clone(), key.clone());
                tokio::spawn(async move { case.acquire(&key, token(), TIME).await })
            })
            .collect();
        let mut granted = 0;
        for asker in askers {
            match asker.await?? {
                Acquired::Granted(_) => granted += 1,
                Acquired::Busy { .. } => {}
                other => return Err(Failure(format!("got {other:?} for a lease"))),
            }
        }
        ensure_eq!(granted, 1, "leases granted to 16 askers");
    }
    Ok(())
}

/// Whichever of the two the server sees first, the key is absent in the end.
async fn a_fill_never_survives_a_remove(case: Case) -> Outcome {
    let during = Overlap::measure(&case).await?;
    for round in 0..Overlap::ROUNDS {
        let key = case.key(round.to_string());
        let filler = during.spawn_fill(&case, &key, round).await?;
        case.storage.remove(&[&key]).await?;
        filler.await??;
        ensure_eq!(
            case.get(&key).await?,
            None,
            "after fill and remove at the same time"
        );
    }
    Ok(())
}

/// Whichever of the two the server sees first, the value that was set is there in the end.
async fn a_fill_never_overwrites_a_set(case: Case) -> Outcome {
    let during = Overlap::measure(&case).await?;
    for round in 0..Overlap::ROUNDS {
        let key = case.key(round.to_string());
        let filler = during.spawn_fill(&case, &key, round).await?;
        case.set(&key, "set", None).await?;
        filler.await??;
        ensure_eq!(
            case.get(&key).await?,
            bytes("set"),
            "after fill and set at the same time"
        );
    }
    Ok(())
}

/// Lets something happen during a fill: over the rounds, at every part of the time that a fill takes here.
struct Overlap {
    fill_time: Duration,
}

impl Overlap {
    const ROUNDS: u32 = 60;

    async fn measure(case: &Case) -> Result<Self, Failure> {
        let key = case.key("measured");
        let mine = case.granted(&key, TIME).await?;
        let start = Instant::now();
        case.fill(&key, "one", mine).await?;
        Ok(Self {
            fill_time: start.elapsed(),
        })
    }

    /// A fill under way, begun as long ago as the round says.
    async fn spawn_fill(
        &self,
        case: &Case,
        key: &[u8],
        round: u32,
    ) -> Result<JoinHandle<Result<Filled, Error>>, Failure> {
        let mine = case.granted(key, TIME).await?;
        let (case, key) = (case.clone(), key.to_vec());
        let filler = tokio::spawn(async move { case.fill(&key, "late", mine).await });
        let (start, wait) = (Instant::now(), self.fill_time * round / Self::ROUNDS);
        // Timers are coarser than a fill.
        while start.elapsed() < wait {
            tokio::task::yield_now().await;
        }
        Ok(filler)
    }
}
