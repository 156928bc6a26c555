import Glibc

/// The address that the setting `listen` names: `HOST:PORT`, `[IPv6]:PORT`, or `:PORT` for every address of the machine.
package struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
    /// Without brackets; empty for every address.
    package let host: String
    /// Zero for one that the system chooses.
    package let port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = Int(digits),
            port <= 65_535, let host = ListenAddress.host(text[..<colon])
        else { return nil }
        self.init(host: host, port: port)
    }

    /// An IPv6 address without brackets is refused, because its end could not be told from the port.
    private static func host(_ text: Substring) -> String? {
        guard text.hasPrefix("[") else {
            let isName = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !":[]/@".utf8.contains($0) }
            return isName ? String(text) : nil
        }
        guard text.hasSuffix("]") else { return nil }
        let inside = text.dropFirst().dropLast()
        let zone = inside.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = zone.first.flatMap({ IPAddress(String($0)) }), address.family == .v6 else { return nil }
        guard zone.count == 1 || !zone[1].isEmpty else { return nil }
        return String(inside)
    }

    private static func bracketed(_ host: String) -> String { host.contains(":") ? "[\(host)]" : host }

    package var description: String { "\(ListenAddress.bracketed(host)):\(port)" }

    package var isEveryAddress: Bool { ["", "::", "0.0.0.0"].contains(host) }

    /// Where a program on this machine finds what listens here. A socket on `::` takes IPv4 as well.
    package func url(scheme: String, port: Int) -> String {
        "\(scheme)://\(isEveryAddress ? "127.0.0.1" : ListenAddress.bracketed(host)):\(port)"
    }
}

// MARK: - Before the start

extension ListenAddress {
    /// Finds out whether the address can be listened on, while nothing is written yet.
    ///
    /// The socket is closed again: one that listened now would keep clients waiting for as long as the log is read. Whoever
    /// takes the port in between is found out by the server itself, with the same message.
    ///
    /// - Returns: the host to listen on: of every address `::`, or `0.0.0.0` on a machine without IPv6.
    /// - Throws: `unavailable`, with the address.
    package func probe() throws(GatewayError) -> String {
        if !host.isEmpty {
            if let refusal = refusal(of: host) { throw refused(refusal.text) }
            return host
        }
        guard let refusal = refusal(of: "::") else { return "::" }
        guard [EAFNOSUPPORT, EADDRNOTAVAIL].contains(refusal.errno), self.refusal(of: "0.0.0.0") == nil else {
            throw refused(refusal.text)
        }
        return "0.0.0.0"
    }

    func refused(_ why: String) -> GatewayError {
        GatewayError(
            .unavailable,
            "could not listen on \(self): \(why); free the address, or name another with --listen or the setting listen"
        )
    }

    private struct Refusal {
        let errno: Int32
        let text: String

        init(_ errno: Int32) {
            self.errno = errno
            text = String(cString: strerror(errno))
        }

        init(resolver code: Int32) {
            errno = 0
            text = String(cString: gai_strerror(code))
        }
    }

    private func refusal(of host: String) -> Refusal? {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = ListenAddress.stream
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &found)
        guard code == 0, let address = found?.pointee else { return Refusal(resolver: code) }
        defer { freeaddrinfo(found) }
        let descriptor = socket(address.ai_family, ListenAddress.stream | ListenAddress.closeOnExec, 0)
        guard descriptor >= 0 else { return Refusal(errno) }
        defer { close(descriptor) }
        // As the server does: a port whose last connections are still ending is free, and one socket takes both families.
        ListenAddress.set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
        if address.ai_family == AF_INET6 { ListenAddress.set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
        return bind(descriptor, address.ai_addr, address.ai_addrlen) == 0 ? nil : Refusal(errno)
    }

    /// `SOCK_STREAM` and `SOCK_CLOEXEC`, which Swift's module of the C library does not show.
    private static let stream: Int32 = 1
    private static let closeOnExec: Int32 = 0o2_000_000

    private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        _ = setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }
}
