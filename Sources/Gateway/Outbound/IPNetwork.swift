package import Glibc

/// One IPv4 or IPv6 address, without port or zone.
package struct IPAddress: Sendable, Equatable, CustomStringConvertible {
    package enum Family: Sendable, Equatable {
        case v4
        case v6

        var bitCount: Int {
            switch self {
            case .v4: 32
            case .v6: 128
            }
        }
    }

    package let family: Family

    /// The address as a number; an IPv4 address stands in the low 32 bits.
    let bits: UInt128

    init(family: Family, bits: UInt128) {
        self.family = family
        self.bits = bits
    }

    /// Reads exactly what `inet_pton` takes: no zone, no port, no leading zeros, no shortened or hexadecimal IPv4.
    package init?(_ text: String) {
        // C would stop at a NUL and accept the part before it.
        guard !text.utf8.contains(0) else { return nil }
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 {
            self.init(v4: v4)
            return
        }
        var v6 = in6_addr()
        guard inet_pton(AF_INET6, text, &v6) == 1 else { return nil }
        self.init(v6: v6)
    }

    /// Reads a socket address; nil for a family other than the two, and for a structure shorter than its family needs.
    package init?(_ address: UnsafePointer<sockaddr>, length: Int) {
        // The caller's structure may be any of several types, so it is read byte-wise and never as a typed pointee.
        let bytes = UnsafeRawBufferPointer(start: address, count: length)
        guard length >= MemoryLayout<sa_family_t>.size else { return nil }
        switch Int32(bytes.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET where length >= MemoryLayout<sockaddr_in>.size:
            self.init(v4: bytes.loadUnaligned(as: sockaddr_in.self).sin_addr)
        case AF_INET6 where length >= MemoryLayout<sockaddr_in6>.size:
            self.init(v6: bytes.loadUnaligned(as: sockaddr_in6.self).sin6_addr)
        default:
            return nil
        }
    }

    package var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        switch family {
        case .v4:
            var address = in_addr(s_addr: UInt32(truncatingIfNeeded: bits).bigEndian)
            inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
        case .v6:
            var address = bits.bigEndian
            inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
        }
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private init(v4 address: in_addr) {
        self.init(family: .v4, bits: UInt128(UInt32(bigEndian: address.s_addr)))
    }

    private init(v6 address: in6_addr) {
        let number = withUnsafeBytes(of: address) { $0.loadUnaligned(as: UInt128.self) }
        self.init(family: .v6, bits: UInt128(bigEndian: number))
    }
}

/// A block of addresses of one family, such as `10.0.0.0/8` or `::1/128`.
package struct IPNetwork: Sendable, Equatable, CustomStringConvertible {
    private let base: IPAddress
    private let prefixLength: Int

    /// Reads `address/length`, or a single address.
    ///
    /// Bits behind the prefix must be zero: `10.1.2.3/8` in an allow list is more likely a slip that opens sixteen
    /// million addresses than a wish.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let base = IPAddress(String(parts[0])) else { return nil }
        guard let length = parts.count == 2 ? Self.prefixLength(parts[1]) : base.family.bitCount,
            length <= base.family.bitCount
        else { return nil }
        self.base = base
        self.prefixLength = length
        guard base.bits & ((UInt128(1) << hostBitCount) &- 1) == 0 else { return nil }
    }

    /// Whether the address lies in this block. An address of the other family never does, mapped forms included.
    package func contains(_ address: IPAddress) -> Bool {
        address.family == base.family && (address.bits ^ base.bits) >> hostBitCount == 0
    }

    package var description: String { "\(base)/\(prefixLength)" }

    private var hostBitCount: Int { base.family.bitCount - prefixLength }

    /// Digits only: `Int` by itself would also take `+8`.
    private static func prefixLength(_ text: Substring) -> Int? {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        return Int(text)
    }
}
