import Glibc

/// The sockets of the driver's connections, by their ends.
///
/// Before libcurl 7.88 writes a request to a kept connection it asks whether the server has left it, and misses a reset, and
/// the polite farewell of TLS (`close_notify`). It does not say on which socket it is about to write either. The ends it
/// does say, and by them the socket is found that was opened for an earlier request.
///
/// Not Sendable: the driver's thread alone uses it, and alone closes these sockets.
final class OpenSockets {
    /// The ports of a connection, and the server's address: connections to two servers may share both ports.
    struct Ends: Hashable {
        let local: CInt
        let peer: CInt
        /// As `inet_ntop` writes it.
        let host: String
    }

    /// So many are kept before those that are closed are forgotten; more than a driver has connections.
    private static let keptMax = 8192

    private var sockets: [Ends: CInt] = [:]

    /// - Parameter opened: Sockets, of which one may be this connection's.
    func note(_ opened: [CInt], _ ends: Ends) {
        if sockets.count >= OpenSockets.keptMax {
            sockets = sockets.filter { OpenSockets.ends(of: $0.value) == $0.key }
        }
        sockets[ends] = opened.first { OpenSockets.ends(of: $0) == ends }
    }

    /// Whether something waits on a connection on which nothing is due: its end, a reset, or words out of turn. Nothing should
    /// be written to it then. False for a connection that is not known.
    func isSpent(_ ends: Ends) -> Bool {
        guard let socket = sockets[ends] else { return false }
        guard OpenSockets.ends(of: socket) == ends else {
            // Closed since, and its number is somebody else's.
            sockets[ends] = nil
            return false
        }
        var byte: UInt8 = 0
        let count = recv(socket, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        let isQuiet = count < 0 && [EAGAIN, EWOULDBLOCK, EINTR].contains(errno)
        if !isQuiet { sockets[ends] = nil }
        return !isQuiet
    }

    private static func ends(of socket: CInt) -> Ends? {
        guard let local = name({ getsockname(socket, $0, $1) }), let peer = name({ getpeername(socket, $0, $1) }) else {
            return nil
        }
        return Ends(local: local.port, peer: peer.port, host: peer.address.description)
    }

    /// An address of either family, and its port, which lies at the same place in both.
    private static func name(
        _ ask: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
    ) -> (address: IPAddress, port: CInt)? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let address = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                ask(name, &length) == 0 ? IPAddress(name, length: Int(length)) : nil
            }
        }
        guard let address else { return nil }
        let port = withUnsafeBytes(of: &storage) { bytes in
            CInt(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
        }
        return (address, port)
    }
}
