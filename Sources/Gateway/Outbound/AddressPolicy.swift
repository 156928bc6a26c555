/// Which addresses a webhook delivery may connect to.
///
/// A client chooses its webhook URL, and a name in it may resolve to anything, at any time. Without this check a client
/// could make Waybill talk to the operator's own network or to a cloud's metadata service. The check therefore looks at
/// the address of the socket that is about to be connected, never at the URL or at an earlier look-up.
///
/// Permitted is public unicast only. Addresses that carry another address inside (mapped, NAT64, 6to4, Teredo) are
/// refused as a whole, because the packet ends somewhere other than the address says. `allowed` makes exceptions.
package struct AddressPolicy: Sendable {
    /// What the operator permits beyond public unicast.
    package let allowed: [IPNetwork]

    package init(allowed: [IPNetwork]) {
        self.allowed = allowed
    }

    /// Whether a connection to this address may be opened.
    package func permits(_ address: IPAddress) -> Bool {
        if let embedded = address.embedded(in: Self.mapped) {
            // The kernel sends this to the IPv4 address, so an exception for that address holds here too.
            return isAllowed(address) || isAllowed(embedded)
        }
        if let embedded = address.embedded(in: Self.nat64) {
            // Allowing the NAT64 prefix means "IPv4 is reached that way here", not "private IPv4 is open".
            return isAllowed(address) && permits(embedded)
        }
        return isAllowed(address) || !Self.refused.contains { $0.contains(address) }
    }

    private func isAllowed(_ address: IPAddress) -> Bool {
        allowed.contains { $0.contains(address) }
    }
}

extension AddressPolicy {
    private static let mapped = IPNetwork("::ffff:0:0/96")
    private static let nat64 = IPNetwork("64:ff9b::/96")

    /// The table below as networks. A test checks that no row is lost here.
    package static let refused: [IPNetwork] = refusedRanges.compactMap { IPNetwork($0.range) }

    /// The IANA special-purpose registries, the metadata services outside them, and all that is not unicast.
    package static let refusedRanges: [(range: String, what: String)] = [
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private use"),
        ("100.64.0.0/10", "carrier-grade NAT; metadata service of Alibaba Cloud"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "host agent of Azure, reachable from inside only although the range is public"),
        ("169.254.0.0/16", "link-local; metadata service of most clouds"),
        ("172.16.0.0/12", "private use"),
        ("192.0.0.0/24", "protocol assignments; metadata service of Oracle Cloud"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relays, deprecated"),
        ("192.168.0.0/16", "private use"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible, deprecated"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64, local use"),
        ("100::/64", "discard only"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local, deprecated"),
        ("ff00::/8", "multicast"),
        // Only 2000::/3 is given out as global unicast. These three are the rest of the address space.
        ("::/3", "not global unicast"),
        ("4000::/2", "not global unicast"),
        ("8000::/1", "not global unicast"),
    ]
}

extension IPAddress {
    /// The IPv4 address in the last 32 bits, if this address lies in the given IPv6 block.
    fileprivate func embedded(in block: IPNetwork?) -> IPAddress? {
        guard let block, block.contains(self) else { return nil }
        return IPAddress(family: .v4, bits: bits & 0xFFFF_FFFF)
    }
}
