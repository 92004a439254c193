//! A listening address and port, as the operator writes them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// One listening address from the command line. The value is a list, because `localhost` has two
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listen(pub(super) Vec<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(vec![address]));
        }
        let expected = "expected ADDRESS:PORT as in 10.0.0.5:8080, [2001:db8::5]:8080, 0.0.0.0:8080 or localhost:8080";
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("the port is missing; {expected}"));
        };
        let port = port
            .parse()
            .map_err(|_| format!("`{port}` is not a port; {expected}"))?;
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(Self(vec![
                (Ipv4Addr::LOCALHOST, port).into(),
                (Ipv6Addr::LOCALHOST, port).into(),
            ]));
        }
        // Names are refused. The address of a name can change, and a machine can have several
        // addresses, so the operator must state the address itself.
        Err(format!(
            "`{host}` is not an address or localhost; {expected}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_address_needs_a_port() {
        for (text, addresses) in [
            ("10.0.0.5:80", &["10.0.0.5:80"][..]),
            ("[::]:8080", &["[::]:8080"]),
            ("localhost:8080", &["127.0.0.1:8080", "[::1]:8080"]),
            ("LocalHost:1", &["127.0.0.1:1", "[::1]:1"]),
        ] {
            let addresses = addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            assert_eq!(text.parse(), Ok(Listen(addresses)), "{text}");
        }
        for (text, words) in [
            ("10.0.0.5", "the port is missing"),
            ("localhost", "the port is missing"),
            ("localhost:http", "`http` is not a port"),
            ("localhost:70000", "`70000` is not a port"),
            ("server:80", "`server` is not an address"),
            (":80", "`` is not an address"),
            ("::1:80", "`::1` is not an address"),
        ] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(
                error.contains(words) && error.contains("expected ADDRESS:PORT"),
                "{text}: {error}"
            );
        }
    }
}
