/// `what, what, …` as often as told.
pub(crate) fn repeat(what: &str, times: usize) -> String {
    let mut list = String::with_capacity((what.len() + 2) * times);
    for at in 0..times {
        if at > 0 {
            list.push_str(", ");
        }
        list.push_str(what);
    }
    list
}
