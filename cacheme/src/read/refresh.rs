//! `refresh`: a read that skips what the tiers have, and a change of the key ([page](crate::write)).

use std::sync::Arc;

use tokio::time::Instant;

use super::batch::Batch;
use super::get::{MAX_ABANDONED_LOADS, shared_result, wait};
use crate::background;
use crate::error::{Error, Result};
use crate::flight::{self, End, FullKey, Work};
use crate::instance::Cacheme;
use crate::kind::unreached::Report;
use crate::load::Load;
use crate::write::settle;

impl Cacheme {
    /// Loads the value of `node` anew and puts it in every tier. Never joins a load that began earlier.
    ///
    /// Meanwhile local tiers answer with the copies that they have, and keep them if the load fails. The values of remote tiers are out of
    /// sight from the beginning: other processes that ask for the key wait for this load. A value that a tier does not take (too large, too
    /// heavy, `do_not_store`) is handed out, and the older one is removed there.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get). [`Error::NotInvalidated`] if the value was loaded but an older one had to be left in a storage, or if the
    /// change could not be published to other processes. The removal is then tried again in the background, as after
    /// [`invalidate`](Self::invalidate). This process reads the new value from then on.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get): the load goes on in the background.
    pub async fn refresh<N: Load>(&self, node: &N) -> Result<N::Value> {
        let kind = self.kind_of(node)?.into_arc();
        let key: FullKey = kind.full_key(node).as_bytes().into();
        flight::refuse_refresh(kind.flights.id(), &key)?;
        for _ in 0..MAX_ABANDONED_LOADS {
            // An older flight that is storing is waited for first.
            let patience = Instant::now() + kind.info.load_timeout.max(kind.storing_patience() * 2);
            let (lead, older) = kind.flights.supersede(&key, Work::Load, patience);
            let flight = Arc::clone(lead.flight());
            let _waits = flight::wait_for(kind.flights.id(), [&flight])?;
            let report = Report::default();
            let mut batch = Batch::refreshing(Arc::clone(&kind), [(lead, node.clone())], Arc::clone(&report));
            match older {
                Some(older) => {
                    let (cacheme, kind) = (self.clone(), Arc::clone(&kind));
                    // If this task stopped with its caller, the next caller would not wait for the store in progress.
                    let leading = background::spawn(async move {
                        settle(&kind, [older]).await;
                        cacheme.lead(&mut batch).await;
                    });
                    if let Err(leading) = leading {
                        // Boxed, as there mostly is a runtime.
                        Box::pin(leading).await;
                    }
                }
                None => self.lead(&mut batch).await,
            }
            if let Some(End::Done(outcome)) = wait(&kind, flight).await {
                let Some(result) = shared_result(outcome, &key) else {
                    unreachable!("a refresh is led by this crate's own loader")
                };
                let value = result?;
                let unreached = std::mem::take(&mut *report.lock());
                return unreached.into_result().map(|()| value.into_inner());
            }
            // The runtime that our load was spawned on is gone.
        }
        Err(Error::ShuttingDown)
    }
}
