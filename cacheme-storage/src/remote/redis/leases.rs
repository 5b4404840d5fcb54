//! Asking for leases.
//!
//! `SET` with `NX` and `GET` finds a value or takes the lease, in one command, and knows no deadline. A server that was frozen
//! carries it out long after its caller has gone. So a lease that is asked for like this is granted for one second at
//! most, which the holder renews. Scripts know the deadline and grant the whole time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::{Cmd, ServerError, Value};

use super::Redis;
use super::entries::{bytes, ttl_ms};
use super::fault::{is_foreign, refuses_writes};
use super::scripts::{Lease, LeaseBytes, Script};
use crate::contract::lease::{Acquire, Acquired, Grant};
use crate::error::Result;

/// The time that a lease lasts at most where nothing judges the deadline.
const UNJUDGED: Duration = Duration::from_secs(1);
/// For more keys than this, filling takes so long that a lease is to last from the beginning.
const MANY: usize = 1_000;

/// A request for leases, on its way.
struct Asking<'r> {
    request: &'r Acquire,
    began: Instant,
    /// The server's time then.
    now_ms: u64,
}

/// The leases that a script is to take besides those of absent keys.
#[derive(Clone, Copy)]
enum Beside<'a> {
    /// None.
    Nothing,
    /// Those of all keys.
    All,
    /// Those in place of leases that are over: by key, its bytes and when it is over.
    These(&'a [(LeaseBytes, u64)]),
}

/// The server's answers for each key, and the time of a lease that it granted.
struct Answers {
    values: Vec<Value>,
    time: Duration,
}

/// The content of a key.
enum Found {
    Answer(Acquired),
    /// A lease that is over, and that the server still has.
    Over {
        lease: Lease,
    },
}

impl Redis {
    pub(super) async fn ask_for_leases(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let asking = Asking {
            request,
            began: Instant::now(),
            now_ms: self.server_info.clock.now_ms(),
        };
        let answers = self.ask(keys, &asking).await?;
        // Boxed, so that the usual answer does not carry the space of the others.
        let is_refusal = |answer: &Value| matches!(answer, Value::ServerError(_));
        if answers.values.iter().any(is_refusal) {
            return Box::pin(self.found_in_trouble(keys, answers, &asking)).await;
        }
        self.found(keys, answers, &asking).await
    }

    /// Asks by the command where that will do.
    async fn ask(&self, keys: &[&[u8]], asking: &Asking<'_>) -> Result<Answers> {
        if asking.request.steals() {
            return Box::pin(self.ask_by_script(keys, asking, Beside::All)).await;
        }
        if keys.len() <= MANY && !self.acquires_by_script.load(Ordering::Relaxed) {
            let answers = self.ask_by_command(keys, asking).await?;
            let unknown = |answer: &Value| {
                matches!(answer, Value::ServerError(error)
                    if error.details().is_some_and(|details| details.contains("syntax error")))
            };
            if !answers.values.iter().any(unknown) {
                return Ok(answers);
            }
            self.acquires_by_script.store(true, Ordering::Relaxed);
        }
        Box::pin(self.ask_by_script(keys, asking, Beside::Nothing)).await
    }

    async fn ask_by_command(&self, keys: &[&[u8]], asking: &Asking<'_>) -> Result<Answers> {
        let time = asking.request.time.min(UNJUDGED);
        let (lease, time_ms) = (asking.lease(time), ttl_ms(time));
        let set = |place: usize| {
            let key = keys[place];
            let mut command = Cmd::with_capacity(7, key.len() + lease.len() + 40);
            command.arg("SET").arg(key).arg(&lease[..]);
            command.arg("PX").arg(time_ms).arg("NX").arg("GET");
            command
        };
        let values = self.send_each(keys, set).await?;
        Ok(Answers { values, time })
    }

    async fn ask_by_script(
        &self,
        keys: &[&[u8]],
        asking: &Asking<'_>,
        beside: Beside<'_>,
    ) -> Result<Answers> {
        let time = asking.request.time;
        let (lease, time_ms) = (asking.lease(time), ttl_ms(time));
        let deadline = asking.request.deadline_ms.map(|deadline| deadline.to_string());
        let deadline = deadline.unwrap_or_default();
        let scripts = &self.server_info.scripts;
        let script: &Script = match beside {
            Beside::All => &scripts.steal,
            Beside::Nothing | Beside::These(_) => &scripts.acquire,
        };
        let arguments = |place: usize, command: &mut Cmd| {
            command.arg(&lease[..]).arg(time_ms).arg(&deadline);
            if let Beside::These(over) = beside {
                let (seen, over_ms) = &over[place];
                command.arg(&seen[..]).arg(*over_ms);
            }
        };
        let values = self.run(script, keys, arguments).await?;
        Ok(Answers { values, time })
    }

    /// Translates the answers. Where a lease is over and the server still has it, because somebody took its expiry away, it
    /// makes way for ours.
    async fn found(&self, keys: &[&[u8]], answers: Answers, asking: &Asking<'_>) -> Result<Vec<Acquired>> {
        let time = answers.time;
        let mut acquired = Vec::with_capacity(keys.len());
        let mut over = Vec::new();
        for (place, answer) in answers.values.into_iter().enumerate() {
            acquired.push(match self.found_in(answer, time, asking)? {
                Found::Answer(answer) => answer,
                Found::Over { lease } => {
                    over.push((place, lease));
                    self.busy(lease)
                }
            });
        }
        if !over.is_empty() {
            Box::pin(self.take_over(keys, &over, &mut acquired, asking)).await?;
        }
        Ok(acquired)
    }

    /// Takes the place of leases that are over, by the places of their keys, unless something else is there by now.
    async fn take_over(
        &self,
        keys: &[&[u8]],
        over: &[(usize, Lease)],
        acquired: &mut [Acquired],
        asking: &Asking<'_>,
    ) -> Result<()> {
        let theirs: Vec<_> = over.iter().map(|(place, _)| keys[*place]).collect();
        let seen = |(_, lease): &(usize, Lease)| (lease.to_bytes(), lease.over_ms());
        let seen: Vec<_> = over.iter().map(seen).collect();
        let taken = self.ask_by_script(&theirs, asking, Beside::These(&seen)).await?;
        for ((place, _), answer) in over.iter().zip(taken.values) {
            // A server that takes no writes goes on having what it has.
            let is_refusal = matches!(answer, Value::ServerError(_));
            if !is_refusal && let Found::Answer(answer) = self.found_in(answer, taken.time, asking)? {
                acquired[*place] = answer;
            }
        }
        Ok(())
    }

    /// Translates an answer; a lease that was granted lasts for `time`.
    fn found_in(&self, answer: Value, time: Duration, asking: &Asking<'_>) -> Result<Found> {
        if let Value::Int(server_ms) = answer {
            // Our caller is still there, so it is our estimate that is wrong.
            self.server_info
                .clock
                .observe(server_ms.unsigned_abs(), asking.began);
            return Ok(Found::Answer(Acquired::TooLate));
        }
        let Some(found) = bytes(answer).map_err(|error| self.translate(error))? else {
            return Ok(Found::Answer(Acquired::Granted(Grant::new(asking.now_ms, time))));
        };
        let now_ms = self.server_info.clock.now_ms();
        Ok(match Lease::from_bytes(&found) {
            None => Found::Answer(Acquired::Value(found.into())),
            Some(lease) if lease.token == asking.request.token => {
                Found::Answer(Acquired::Granted(Grant::new(asking.now_ms, lease.left(now_ms))))
            }
            Some(lease) if lease.over_ms() < now_ms => Found::Over { lease },
            Some(lease) => Found::Answer(self.busy(lease)),
        })
    }

    fn busy(&self, lease: Lease) -> Acquired {
        Acquired::Busy {
            left: lease.left(self.server_info.clock.now_ms()),
        }
    }

    /// Translates the answers where the server refused to answer for some keys.
    async fn found_in_trouble(
        &self,
        keys: &[&[u8]],
        mut answers: Answers,
        asking: &Asking<'_>,
    ) -> Result<Vec<Acquired>> {
        let places = |answers: &[Value], which: fn(&ServerError) -> bool| -> Vec<usize> {
            let is = |place: &usize| matches!(&answers[*place], Value::ServerError(error) if which(error));
            (0..answers.len()).filter(is).collect()
        };
        // What is not a string is not ours: it makes way for the lease.
        let foreign = places(&answers.values, is_foreign);
        if !foreign.is_empty() {
            let theirs: Vec<_> = foreign.iter().map(|&place| keys[place]).collect();
            let taken = self.ask_by_script(&theirs, asking, Beside::All).await?;
            for (place, answer) in foreign.into_iter().zip(taken.values) {
                answers.values[place] = answer;
            }
        }
        // A server that takes no writes still has values.
        let refused = places(&answers.values, refuses_writes);
        if refused.is_empty() || asking.request.steals() {
            return self.found(keys, answers, asking).await;
        }
        let asked: Vec<_> = refused.iter().map(|&place| keys[place]).collect();
        let found = self
            .router
            .get(&asked)
            .await
            .map_err(|error| self.translate(error))?;
        if found.iter().all(|found| !matches!(found, Value::BulkString(_))) && refused.len() == keys.len() {
            return self.found(keys, answers, asking).await;
        }
        let absent: Vec<usize> = refused
            .iter()
            .zip(&found)
            .filter(|(_, found)| **found == Value::Nil)
            .map(|(place, _)| *place)
            .collect();
        for (place, found) in refused.iter().zip(found) {
            answers.values[*place] = found;
        }
        let mut acquired = self.found(keys, answers, asking).await?;
        for place in absent {
            acquired[place] = Acquired::Unavailable;
        }
        Ok(acquired)
    }
}

impl Asking<'_> {
    /// The lease as it lies in the server, for so long.
    fn lease(&self, time: Duration) -> LeaseBytes {
        let lease = Lease {
            token: self.request.token,
            until_ms: self.now_ms.saturating_add(ttl_ms(time)),
        };
        lease.to_bytes()
    }
}
