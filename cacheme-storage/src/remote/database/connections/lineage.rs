//! The server that connections lead to, and the connections that are given up when it changes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::remote::pause::Pause;

/// The number of servers left behind that are remembered.
const REMEMBERED: usize = 16;
/// The number of connections in a row that have to lead to servers that were left before one of them is taken again.
const STRANGERS: u32 = 8;
/// The time for which a server that takes no writes on new connections either is a replica by set-up.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The generations of connections.
///
/// A generation ends when a new connection leads to another server, or when a server that took writes takes none any more: what
/// older connections read is no longer what the others write. A generation that ended never comes back.
///
/// | event | same server | another server | a server that was left |
/// |---|---|---|---|
/// | a connection is made | it is of this generation | a new generation | refused while this generation lives, [`STRANGERS`] times in a row at most |
/// | a write is refused as read-only | a new generation; then none for [`PAUSE`] | | |
///
/// The last column is for an address behind which several servers take turns: the connections stay with one of them.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    generation: u64,
    /// The server of this generation, once it is known.
    identity: Option<Box<str>>,
    left: VecDeque<Box<str>>,
    /// The number of connections of this generation.
    members: usize,
    strangers: u32,
    /// While it lasts, a server that takes no writes is a replica by set-up.
    stays: Pause,
}

/// The decision about a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is of the generation that there is.
    Member(u64),
    /// It begins a generation.
    First(u64),
    /// It is to be closed.
    Stranger,
}

/// The decision about the connections after a write was refused as read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demotion {
    /// All were given up just now.
    GivenUp(u64),
    /// They had been given up before.
    Before,
    /// They stay: new ones lead to the same.
    Stays,
}

impl Lineage {
    /// A connection was made; `identity` tells its server from others.
    pub(crate) fn admit(&mut self, identity: Option<&str>) -> Admission {
        let Some(identity) = identity else {
            self.members += 1;
            return Admission::Member(self.generation);
        };
        let is_other = self.identity.as_deref().is_some_and(|known| known != identity);
        if is_other && self.members > 0 && self.left.iter().any(|left| **left == *identity) {
            self.strangers += 1;
            if self.strangers < STRANGERS {
                return Admission::Stranger;
            }
        }
        self.strangers = 0;
        if is_other {
            self.next();
        }
        self.left.retain(|left| **left != *identity);
        self.identity = Some(identity.into());
        self.members += 1;
        if is_other {
            Admission::First(self.generation)
        } else {
            Admission::Member(self.generation)
        }
    }

    /// A connection of `generation` is gone.
    pub(crate) fn leave(&mut self, generation: u64) {
        if generation == self.generation {
            self.members = self.members.saturating_sub(1);
        }
    }

    /// The number of connections of this generation.
    pub(crate) fn members(&self) -> usize {
        self.members
    }

    /// A write was refused as read-only on a connection of `generation`.
    pub(crate) fn demote(&mut self, generation: u64) -> Demotion {
        if generation != self.generation {
            return Demotion::Before;
        }
        if !self.stays.begin_if_over(PAUSE) {
            return Demotion::Stays;
        }
        Demotion::GivenUp(self.next())
    }

    /// Ends this generation; gives the new one.
    pub(crate) fn next(&mut self) -> u64 {
        if let Some(left) = self.identity.take() {
            if self.left.len() == REMEMBERED {
                self.left.pop_front();
            }
            self.left.push_back(left);
        }
        self.members = 0;
        self.generation += 1;
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t5_another_server_ends_a_generation_and_the_same_one_does_not() {
        let mut lineage = Lineage::default();
        assert_eq!(lineage.admit(Some("a")), Admission::Member(0));
        assert_eq!(lineage.admit(Some("a")), Admission::Member(0));
        assert_eq!(lineage.admit(None), Admission::Member(0));
        assert_eq!(lineage.members(), 3);
        assert_eq!(lineage.admit(Some("b")), Admission::First(1));
        lineage.leave(0);
        assert_eq!(lineage.members(), 1, "those of an older generation count no more");
        lineage.leave(1);
        assert_eq!(
            lineage.admit(Some("a")),
            Admission::First(2),
            "nobody is left with the other"
        );
    }

    #[test]
    fn t5_behind_an_address_of_several_servers_connections_stay_with_one() {
        let mut lineage = Lineage::default();
        let servers = ["a", "b", "c"];
        let met: Vec<_> = (0..30)
            .map(|turn| lineage.admit(Some(servers[turn % 3])))
            .collect();
        assert_eq!(met[2], Admission::First(2));
        for (turn, met) in met.into_iter().enumerate().skip(3) {
            let expected = if turn % 3 == 2 {
                Admission::Member(2)
            } else {
                Admission::Stranger
            };
            assert_eq!(met, expected, "{turn}");
        }
        // An address that moved back for good is followed.
        let back: Vec<_> = (0..9).map(|_| lineage.admit(Some("a"))).collect();
        assert_eq!(back[6], Admission::Stranger);
        assert_eq!(back[7..], [Admission::First(3), Admission::Member(3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn t5_a_server_that_takes_no_writes_is_left_once_and_then_stays_for_a_while() {
        let mut lineage = Lineage::default();
        lineage.admit(Some("a"));
        lineage.admit(Some("a"));
        assert_eq!(lineage.demote(0), Demotion::GivenUp(1));
        assert_eq!(lineage.demote(0), Demotion::Before);
        assert_eq!(lineage.admit(Some("a")), Admission::Member(1));
        assert_eq!(lineage.demote(1), Demotion::Stays);
        tokio::time::advance(PAUSE).await;
        assert_eq!(lineage.demote(1), Demotion::GivenUp(2));
        assert_eq!(lineage.admit(Some("b")), Admission::Member(2));
        assert_eq!(
            lineage.admit(Some("a")),
            Admission::Stranger,
            "the demoted one stays left"
        );
    }
}
