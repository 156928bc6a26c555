import HTTPTypes
import NIOCore

/// From where a request comes, for limits that strangers share.
package struct SourceAddress: Sendable, Hashable {
    /// An IPv4 address; of IPv6 the network of 64 bits, of which one customer has a whole one.
    let network: UInt128
    private static let forwardedFor = HTTPField.Name("X-Forwarded-For")

    init(_ address: IPAddress) {
        network = address.family == .v6 ? (address.bits >> 64) << 64 : address.bits
    }

    /// The peer's address, or nil where the socket has none.
    static func peer(_ channel: any Channel) -> IPAddress? {
        // A stream of HTTP/2 has its connection's address.
        guard let address = channel.remoteAddress ?? channel.parent?.remoteAddress else { return nil }
        return address.withSockAddr { IPAddress($0, length: $1) }?.unmapped
    }

    /// Whom a request is charged to: the peer; behind a proxy that is trusted, the last address of `X-Forwarded-For` that is not
    /// a trusted proxy itself. What is before that the caller may have made up.
    static func of(_ peer: IPAddress?, _ headers: HTTPFields, trusted: [IPNetwork]) -> SourceAddress? {
        guard let peer else { return nil }
        if trusted.isEmpty { return SourceAddress(peer) }
        var source = peer
        let said = forwardedFor.map { headers[values: $0] } ?? []
        for text in said.flatMap({ $0.split(separator: ",") }).reversed() {
            guard trusted.contains(where: { $0.contains(source) }) else { break }
            guard let next = IPAddress(String(text).trimmingSpaces)?.unmapped else { break }
            source = next
        }
        return SourceAddress(source)
    }
}

extension IPAddress {
    /// An IPv4 address that came in the clothes of IPv6, as a socket for both families shows it, without them.
    var unmapped: IPAddress {
        family == .v6 && bits >> 32 == 0xffff ? IPAddress(family: .v4, bits: bits & 0xffff_ffff) : self
    }
}
