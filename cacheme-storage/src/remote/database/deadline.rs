use crate::contract::lease::{Acquire, Acquired};

/// The server's time after which nothing is granted; past the end of time where there is no deadline.
pub(crate) fn deadline_millis(request: &Acquire) -> i64 {
    let deadline = request.deadline_ms.map(i64::try_from);
    deadline.and_then(Result::ok).unwrap_or(i64::MAX)
}

/// Answers for keys without one, once the deadline has passed.
pub(crate) fn too_late(answers: &mut [Option<Acquired>]) {
    let unanswered = answers.iter_mut().filter(|answer| answer.is_none());
    unanswered.for_each(|answer| *answer = Some(Acquired::TooLate));
}
