use crate::error::Result;
use crate::url::StorageUrl;

/// The one host that the URL names, with its port; `None` if it names none.
pub(crate) fn host_and_port(url: &StorageUrl) -> Result<Option<(String, Option<u16>)>> {
    let hosts = url.hosts();
    if hosts.is_empty() {
        return Ok(None);
    }
    // An IPv6 address stands in brackets: `[::1]:5432`.
    let end_of_address = hosts.find(']').map_or(0, |at| at + 1);
    let (host, port) = match hosts[end_of_address..].rfind(':') {
        Some(colon) => {
            let (host, port) = hosts.split_at(end_of_address + colon);
            let port = port[1..].parse();
            (
                host,
                Some(port.map_err(|_| url.error("has a port that is no number from 0 to 65535"))?),
            )
        }
        None => (hosts, None),
    };
    if host.is_empty() || host.contains(',') {
        return Err(url.error("must name one host"));
    }
    Ok(Some((host.trim_matches(['[', ']']).to_owned(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        let parse = |hosts: &str| host_and_port(&StorageUrl::parse(&format!("x://{hosts}/")).unwrap());
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("db").unwrap(), Some(("db".into(), None)));
        assert_eq!(parse("db:54").unwrap(), Some(("db".into(), Some(54))));
        assert_eq!(parse("[::1]:54").unwrap(), Some(("::1".into(), Some(54))));
        assert_eq!(parse("[::1]").unwrap(), Some(("::1".into(), None)));
        for bad in ["db:x", "db:99999", ":54", "a,b"] {
            parse(bad).unwrap_err();
        }
    }
}
