//! What keeps web pages out of an API that listens on loopback.
//!
//! A page of another site can make a browser send requests here. It cannot choose `Host` and
//! `Origin`: a name that was rebound to 127.0.0.1 shows in the first, a foreign page in the second.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::http::uri::Authority;

use crate::server::problem::Refusal;

/// Refuses a request that names another host, or that comes from another origin.
///
/// A request without `Host` passes: every browser sends one, and calls within the process need none.
pub(crate) fn check(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(authority).transpose()?;
    if hosts.next().is_some() {
        return Err(foreign_host("several at once"));
    }
    for name in host.iter().chain(uri.authority()) {
        if !is_loopback(name) {
            return Err(foreign_host(name.as_str()));
        }
    }
    let own = host.as_ref().or(uri.authority());
    headers.get_all(header::ORIGIN).iter().try_for_each(|origin| check_origin(origin, own))
}

fn authority(value: &HeaderValue) -> Result<Authority, Refusal> {
    let text = value.to_str().unwrap_or_default();
    text.parse().map_err(|_| foreign_host(text))
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = !authority.as_str().contains('@');
    plain && (host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

fn check_origin(origin: &HeaderValue, own: Option<&Authority>) -> Result<(), Refusal> {
    let text = origin.to_str().unwrap_or_default();
    let named = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let same = own.zip(named).is_some_and(|(own, named)| own.as_str().eq_ignore_ascii_case(named));
    if same {
        return Ok(());
    }
    let detail = format!("a page of `{text}` may not ask this server");
    Err(Refusal::new(StatusCode::FORBIDDEN, "foreign-origin", detail)
        .hint("use the command line, or a page that this server itself gave"))
}

fn foreign_host(host: &str) -> Refusal {
    let detail = format!("the request is for the host `{host}`, and this server answers to loopback names only");
    Refusal::new(StatusCode::FORBIDDEN, "foreign-host", detail).hint("ask `localhost`, `127.0.0.1` or `[::1]`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(headers: &[(&str, &str)], uri: &str) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        check(&map, &uri.parse().unwrap()).map_err(|refusal| refusal.problem().code.clone())
    }

    #[test]
    fn loopback_names_and_addresses_are_answered() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.9.1", "[::1]:8080", "[::1]"] {
            assert_eq!(verdict(&[("host", host)], "/x"), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_name_rebound_to_loopback_is_refused() {
        let hosts = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "10.0.0.1",
            "evil@localhost",
            "localhost@evil.example",
            "[::ffff:8.8.8.8]",
            "",
        ];
        for host in hosts {
            assert_eq!(verdict(&[("host", host)], "/x"), Err("foreign-host".to_owned()), "{host}");
        }
    }

    #[test]
    fn a_request_line_with_a_host_of_its_own_is_checked_too() {
        assert_eq!(verdict(&[("host", "localhost")], "http://evil.example/x"), Err("foreign-host".to_owned()));
        assert_eq!(verdict(&[], "http://localhost/x"), Ok(()));
    }

    #[test]
    fn two_hosts_are_refused() {
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(verdict(&twice, "/x"), Err("foreign-host".to_owned()));
    }

    #[test]
    fn a_call_within_the_process_needs_no_host() {
        assert_eq!(verdict(&[], "/x"), Ok(()));
    }

    #[test]
    fn only_pages_of_the_same_host_and_port_may_ask() {
        let from = |origin| verdict(&[("host", "localhost:8080"), ("origin", origin)], "/x");
        assert_eq!(from("http://localhost:8080"), Ok(()));
        for origin in
            ["null", "http://localhost:3000", "http://localhost", "https://evil.example", "file://localhost:8080", ""]
        {
            assert_eq!(from(origin), Err("foreign-origin".to_owned()), "{origin}");
        }
        assert_eq!(verdict(&[("origin", "http://localhost")], "/x"), Err("foreign-origin".to_owned()));
    }
}
