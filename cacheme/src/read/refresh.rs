//! `refresh`: a read that skips what the tiers have, and a change of the key ([page](crate::write)).

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use cacheme_storage::{BoxError, SmallBox};
use tokio::time::Instant;

use super::batch::{Answer, Batch};
use super::get::{MAX_ABANDONED_LOADS, shared_result, wait};
use crate::background;
use crate::error::{Error, Result};
use crate::flight::outcome::{Failure, Outcome};
use crate::flight::{self, Done, End, FullKey, Work};
use crate::instance::Cacheme;
use crate::kind::load_error;
use crate::kind::unreached::Report;
use crate::load::Load;
use crate::node::Node;
use crate::write::change_again;
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
                let again = change_again(&kind, &[Arc::clone(&key)]).await;
                report.lock().add(again);
                return refreshed::<N>(outcome, &key, &report);
            }
            // The runtime that our load was spawned on is gone.
        }
        Err(Error::ShuttingDown)
    }

    /// Loads the value of `node` anew by `load`, which may borrow, and puts it in every tier.
    ///
    /// As [`refresh`](Self::refresh), with a loader that comes with the call.
    ///
    /// ```
    /// # use cacheme::{Cacheme, Error, Node};
    /// #[derive(Node, Clone)]
    /// #[node(key = "stock:{0}", value = u32, tier(storage = "local", ttl = "1m"))]
    /// struct StockNode(String);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cacheme = Cacheme::builder().build()?;
    /// # cacheme.register_storage("local", cacheme::Storage::open("local://tlfu?size=100")?).await?;
    /// let shelf = vec!["tea", "milk"];
    /// let count = || async { Ok::<_, std::io::Error>(shelf.len() as u32) };
    /// assert_eq!(cacheme.refresh_with(&StockNode("all".into()), count).await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Load`] with the error of `load`, and those of [`refresh`](Self::refresh). `load` has no time limit.
    ///
    /// # Panics
    ///
    /// When the load panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the load. Callers that wait for it try again.
    pub async fn refresh_with<N, E, F>(&self, node: &N, load: impl FnOnce() -> F) -> Result<N::Value>
    where
        N: Node,
        E: Into<BoxError>,
        F: Future<Output = std::result::Result<N::Value, E>>,
    {
        let kind = self.kind_of(node)?.into_arc();
        let key: FullKey = kind.full_key(node).as_bytes().into();
        flight::refuse_refresh(kind.flights.id(), &key)?;
        let patience = Instant::now() + kind.info.load_timeout.max(kind.storing_patience() * 2);
        let (lead, older) = kind.flights.supersede(&key, Work::Load, patience);
        let flight = Arc::clone(lead.flight());
        let _waits = flight::wait_for(kind.flights.id(), [&flight])?;
        let report = Report::default();
        let mut batch = Batch::refreshing(Arc::clone(&kind), [(lead, node.clone())], Arc::clone(&report));
        if let Some(older) = older {
            let kind = Arc::clone(&kind);
            // If this task stopped with its caller, the next caller would not wait for the store in progress.
            let settling = background::spawn(async move {
                settle(&kind, [older]).await;
                batch
            });
            batch = match settling {
                Ok(settling) => settling.await.map_err(|_| Error::ShuttingDown)?,
                Err(settling) => Box::pin(settling).await,
            };
        }
        batch.pass().await;
        if batch.advance().await.is_some() {
            batch.extend();
            let load = async { load().await.map(SmallBox::new).map_err(Into::into) };
            let (loaded, store) = batch.load_here(&[0], load).await;
            let (result, panic) = match loaded {
                Ok(Ok(value)) => (Ok(value), None),
                Ok(Err(error)) => (Err(Failure::error(load_error(&key, error))), None),
                Err(panic) => (Err(Failure::panicked(&*panic)), Some(panic)),
            };
            batch.land(vec![(0, Answer { result, store })]).await;
            if let Some(panic) = panic {
                resume_unwind(panic);
            }
        }
        let Some(End::Done(outcome)) = wait(&kind, flight).await else {
            return Err(Error::ShuttingDown);
        };
        let again = change_again(&kind, &[Arc::clone(&key)]).await;
        report.lock().add(again);
        refreshed::<N>(outcome, &key, &report)
    }
}

/// The result of a refresh whose flight has ended.
fn refreshed<N: Node>(outcome: Done<Outcome<N::Value>>, key: &[u8], report: &Report) -> Result<N::Value> {
    let Some(result) = shared_result(outcome, key) else {
        unreachable!("the error of a refresh is one of this crate")
    };
    let value = result?;
    let unreached = std::mem::take(&mut *report.lock());
    unreached.into_result().map(|()| value.into_inner())
}
