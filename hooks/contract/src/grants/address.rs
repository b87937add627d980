//! Which addresses may be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Denied;

/// Private ranges that were granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRanges(Vec<IpNet>);

/// Never dialled, whatever was granted: this host, the link with its metadata services, and groups.
const NEVER: [&str; 8] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/127",
    "fe80::/10",
    "ff00::/8",
];

/// Never dialled either: services of clouds that answer with the secrets of a machine, and are not on its link. Alibaba's, Azure's, and that of
/// AWS in IPv6.
const METADATA: [&str; 3] = ["100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/32"];

/// Not public by the registries of special-purpose addresses (RFC 6890 and its successors).
const SPECIAL: [&str; 14] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
];

/// What is public in IPv6.
const PUBLIC_V6: &str = "2000::/3";

impl AddressRanges {
    /// These ranges.
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(ranges)
    }

    /// May this address be dialled?
    ///
    /// An IPv6 address that stands for an IPv4 address is judged as what it stands for as well.
    ///
    /// # Errors
    ///
    /// Says which address is not public, and was not granted.
    pub fn permit(&self, address: IpAddr) -> Result<(), Denied> {
        let meant = meant(address);
        let within = |ranges: &[&str], address: IpAddr| ranges.iter().any(|range| contains(range, address));
        let all: Vec<IpAddr> = meant.iter().copied().chain(translated(address)).collect();
        if all.iter().any(|address| within(&METADATA, *address)) {
            return Err(Denied::because(format!(
                "{address} is the metadata service of a cloud, which is never dialled"
            )));
        }
        if all.iter().any(|address| within(&NEVER, *address)) {
            return Err(Denied::because(format!(
                "{address} is a loopback, link-local or multicast address, which is never dialled"
            )));
        }
        // What stands for an IPv4 address is as public as that.
        let is_public = |address: IpAddr| {
            !within(&SPECIAL, address) && (address.is_ipv4() || contains(PUBLIC_V6, address))
        };
        let is_granted = |address: IpAddr| self.0.iter().any(|range| range.contains(&address));
        let judged = if meant.len() > 1 { &meant[1..] } else { &meant[..] };
        if judged.iter().all(|address| is_public(*address) || is_granted(*address)) || is_granted(address) {
            Ok(())
        } else {
            Err(Denied::because(format!("{address} is not a public address, and not in http.privateRanges")))
        }
    }
}

fn contains(range: &str, address: IpAddr) -> bool {
    range.parse::<IpNet>().is_ok_and(|range| range.contains(&address))
}

/// The address, and the IPv4 address that it stands for.
fn meant(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return vec![address] };
    let parts = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    let stands_for = match parts {
        // Unspecified and loopback are themselves.
        _ if v6 == Ipv6Addr::UNSPECIFIED || v6 == Ipv6Addr::LOCALHOST => None,
        // IPv4-compatible, IPv4-mapped (RFC 4291), IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(v4(high, low)),
        // NAT64, well known (RFC 6052). Of the local prefix (RFC 8215) nobody knows where in it the IPv4 address stands: it is not public.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    };
    std::iter::once(address).chain(stands_for).collect()
}

/// The IPv4 addresses that a local NAT64 (RFC 8215) may make of it: by RFC 6052, at four places. Those that begin with 0 are no addresses, but
/// what is left free.
fn translated(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return Vec::new() };
    if !matches!(v6.segments(), [0x64, 0xff9b, 1, ..]) {
        return Vec::new();
    }
    let octets = v6.octets();
    let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
    let found = places.map(|place| place.map(|at: usize| octets[at]));
    found.into_iter().filter(|octets| octets[0] != 0).map(|octets| Ipv4Addr::from(octets).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(ranges: &[&str], address: &str) -> bool {
        let ranges = AddressRanges::new(ranges.iter().map(|range| range.parse().unwrap()).collect());
        ranges.permit(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn public_addresses_are_dialled() {
        for address in
            ["1.1.1.1", "9.9.9.9", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1", "::ffff:1.1.1.1"]
        {
            assert!(permit(&[], address), "{address}");
        }
    }

    #[test]
    fn private_addresses_are_not_in_whatever_dress() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "64:ff9b:1::1",
            "64:ff9b:1::101:101",
            "64:ff9b:1:a00:0:100:101:101",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:a00:1::1",
            "2002:7f00:1::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!permit(&[], address), "{address}");
        }
    }

    #[test]
    fn a_private_range_is_dialled_where_it_was_granted() {
        assert!(permit(&["10.20.0.0/16"], "10.20.3.4"));
        assert!(permit(&["10.20.0.0/16"], "::ffff:10.20.3.4"));
        assert!(!permit(&["10.20.0.0/16"], "10.21.3.4"));
        assert!(permit(&["fd00::/8"], "fd12::1"));
    }

    #[test]
    fn the_link_and_the_host_are_never_dialled() {
        for address in [
            "169.254.169.254",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:168.63.129.16",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1::7f00:1",
        ] {
            assert!(!permit(&["0.0.0.0/0", "::/0"], address), "{address}");
        }
    }

    #[test]
    fn every_range_of_the_tables_is_one() {
        for range in NEVER.iter().chain(&METADATA).chain(&SPECIAL).chain([&PUBLIC_V6]) {
            assert!(range.parse::<IpNet>().is_ok(), "{range}");
        }
    }
}
