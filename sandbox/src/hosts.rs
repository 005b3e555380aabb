//! Which hosts a job may reach, and at which addresses.
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The ports of a host that was allowed without one.
const PORTS: [u16; 2] = [80, 443];

/// Whether everything that `asked` names is among what the user allowed: hosts as in [`Net::Hosts`](crate::Net::Hosts).
///
/// What cannot be read as a host allows nothing and is not allowed.
pub fn allows<S: AsRef<str>>(allowed: impl IntoIterator<Item = S>, asked: &str) -> bool {
    let Ok(asked) = asked.parse::<Allowed>() else { return false };
    allowed.into_iter().filter_map(|one| one.as_ref().parse::<Allowed>().ok()).any(|one| one.covers(&asked))
}

/// Whether an allowed host is this very one, at any port.
#[cfg(target_os = "linux")]
pub(crate) fn names(allowed: &str, host: &str) -> bool {
    allowed.parse::<Allowed>().is_ok_and(|allowed| !allowed.below && allowed.name == host)
}

/// The hosts of one job.
#[derive(Debug)]
pub(crate) struct Hosts(Vec<Allowed>);

impl Hosts {
    /// Reads what the caller allows.
    pub fn new(hosts: &[String]) -> io::Result<Self> {
        let read = |host: &String| {
            let why = |()| format!("cannot allow the host `{host}`: write it as HOST, HOST:PORT or *.DOMAIN");
            host.parse().map_err(why).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))
        };
        hosts.iter().map(read).collect::<io::Result<_>>().map(Hosts)
    }

    /// Whether the job may name this host and port.
    pub fn name(&self, target: &Target) -> bool {
        self.0.iter().any(|allowed| allowed.matches(target))
    }

    /// Whether a host that was allowed by name may be at this address. One that is not public, such as a server of this
    /// machine or of its cloud, has to be allowed itself: whoever owns a name decides where it leads.
    pub fn address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let itself = Target { host: address.to_string(), port };
        let local = Target { host: LOCALHOST.into(), port };
        is_public(address) || self.name(&itself) || (address.is_loopback() && self.name(&local))
    }
}

const LOCALHOST: &str = "localhost";

/// A host and a port that a job names; the host is in lower case, an address in its shortest form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// Reads `HOST[:PORT]`; a port must be there if none is given to be used otherwise.
    pub fn read(text: &str, port: Option<u16>) -> Option<Self> {
        let (host, given) = split(text)?;
        Some(Target { host: canonical(host)?, port: given.or(port)? })
    }

    /// The host where it is an address.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// How it is written in a `Host` header, where this port is left out.
    pub fn authority(&self, usual: &[u16]) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if usual.contains(&self.port) { host } else { format!("{host}:{}", self.port) }
    }
}

/// As it would have to be allowed.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority(&PORTS))
    }
}

/// A host, or all hosts of a domain, that the user allowed.
#[derive(Debug)]
struct Allowed {
    name: String,
    below: bool,
    port: Option<u16>,
}

impl Allowed {
    fn matches(&self, target: &Target) -> bool {
        self.port.map_or(PORTS.contains(&target.port), |port| port == target.port) && self.has(&target.host)
    }

    fn has(&self, host: &str) -> bool {
        match self.below {
            true => {
                let rest = host.strip_suffix(&self.name).and_then(|rest| rest.strip_suffix('.'));
                rest.is_some_and(|rest| !rest.is_empty()) && host.parse::<IpAddr>().is_err()
            }
            false => host == self.name,
        }
    }

    fn covers(&self, asked: &Allowed) -> bool {
        let port = self.port == asked.port || (self.port.is_none() && asked.port.is_some_and(|p| PORTS.contains(&p)));
        let same = self.below == asked.below && self.name == asked.name;
        port && (same || (self.below && self.has(&asked.name)))
    }
}

impl FromStr for Allowed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let below = text.strip_prefix("*.");
        let (host, port) = split(below.unwrap_or(text)).ok_or(())?;
        let name = canonical(host).ok_or(())?;
        if below.is_some() && name.parse::<IpAddr>().is_ok() {
            return Err(());
        }
        Ok(Allowed { name, below: below.is_some(), port })
    }
}

/// A host, with the brackets of an address taken away, and a port.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port)))
        }
        _ => None,
    }
}

/// A name in lower case without its last dot, or an address in the one form that addresses are compared in.
fn canonical(host: &str) -> Option<String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.len() < 64 && label.bytes().all(known);
    (name.len() < 254 && name.split('.').all(label)).then_some(name)
}

/// Whether an address is anybody's: not of this machine, its network, its cloud or many at once.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let reserved = match v4.octets() {
        // This network, a provider's own, the protocols' own, measurements, and what nobody has.
        [0, ..] | [192, 0, 0, _] | [240..=255, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        [198, second, ..] => (18..20).contains(&second),
        _ => false,
    };
    let near = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_multicast() || v4.is_documentation();
    !reserved && !near
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, c, _, _, _, g, h] = v6.segments();
    let inner = |high: u16, low: u16| is_public_v4((u32::from(high) << 16 | u32::from(low)).into());
    match (a, b) {
        // Addresses that hold one of version 4: by translation, and by the old tunnels.
        (0x64, 0xff9b) => c == 0 && inner(g, h),
        (0x2002, _) => inner(b, c),
        (0x2001, 0) | (0x2001, 0xdb8) => false,
        // All that was ever given out; the rest is loopback, local, multicast or of no use.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(hosts: &[&str]) -> Hosts {
        Hosts::new(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn named(allowed: &[&str], asked: &str) -> bool {
        hosts(allowed).name(&Target::read(asked, Some(443)).unwrap())
    }

    #[test]
    fn a_name_is_allowed_exactly_on_two_ports() {
        for good in ["files.test", "Files.Test.", "files.test:443", "files.test:80"] {
            assert!(named(&["FILES.test"], good), "{good}");
        }
        for bad in ["test", "a.files.test", "files.test.example", "xfiles.test", "files.test:22", "files.test:8443"] {
            assert!(!named(&["files.test"], bad), "{bad}");
        }
        assert!(named(&["files.test:8443"], "files.test:8443") && !named(&["files.test:8443"], "files.test"));
    }

    #[test]
    fn a_star_stands_for_the_names_below_a_domain() {
        assert!(named(&["*.hf.co"], "cdn.hf.co") && named(&["*.hf.co"], "a.b.HF.co"));
        assert!(!named(&["*.1"], "127.0.0.1"));
        for bad in ["hf.co", "xhf.co", "hf.co.example", "cdn.hf.co:22"] {
            assert!(!named(&["*.hf.co"], bad), "{bad}");
        }
    }

    #[test]
    fn what_is_not_a_host_allows_nothing() {
        for bad in [
            "",
            "*",
            "*.",
            "*.*.co",
            "a/b",
            "a b",
            "http://a",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "user@a",
            "a..b",
            ".a",
            "[a]",
            "[::1",
            "[::1]x",
            "::1]",
            "*.1.2.3.4",
            "fe80::1%eth0",
            "a\r\nb",
            "é",
        ] {
            let why = Hosts::new(&[bad.to_owned()]).unwrap_err().to_string();
            assert_eq!(why, format!("cannot allow the host `{bad}`: write it as HOST, HOST:PORT or *.DOMAIN"));
        }
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        assert!(named(&["[::1]:443"], "[0:0::1]:443") && named(&["::1"], "[::1]"));
        assert!(named(&["127.0.0.1"], "[::ffff:127.0.0.1]") && !named(&["127.0.0.1"], "127.1"));
        assert!(!named(&["localhost"], "127.0.0.1"));
    }

    #[test]
    fn only_public_addresses_are_reached_by_name() {
        let address = |allowed: &[&str], ip: &str| hosts(allowed).address(ip.parse().unwrap(), 443);
        for public in ["1.1.1.1", "100.63.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1", "64:ff9b::101:101"] {
            assert!(address(&["a.example"], public), "{public}");
        }
        for near in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!address(&["a.example"], near), "{near}");
        }
        assert!(address(&["a.example", "10.1.2.3"], "10.1.2.3") && !address(&["10.1.2.3:1"], "10.1.2.3"));
        assert!(address(&["localhost"], "127.0.0.1") && address(&["localhost"], "::1"));
        assert!(!address(&["localhost"], "10.1.2.3"));
    }

    #[test]
    fn a_request_for_hosts_is_held_against_what_the_user_allowed() {
        let allowed = ["files.test", "*.hf.co", "127.0.0.1:9", "a/b"];
        for good in ["files.test", "FILES.TEST", "files.test:443", "cdn.hf.co", "*.hf.co", "*.cdn.hf.co", "127.0.0.1:9"]
        {
            assert!(allows(allowed, good), "{good}");
        }
        for bad in ["*.files.test", "files.test:22", "hf.co", "*.co", "127.0.0.1", "a/b", ""] {
            assert!(!allows(allowed, bad), "{bad}");
        }
    }
}
