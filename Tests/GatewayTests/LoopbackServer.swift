import Glibc
import Synchronization

/// A TCP server on 127.0.0.1 that reads requests and does with each one what the script says next.
///
/// Each connection has a thread of its own. Every wait is bounded, so that a failing test ends.
final class LoopbackServer: Sendable {
    enum Step: Sendable {
        /// Writes these bytes and keeps the connection.
        case answer(String)
        /// Closes the connection without a word.
        case close
        /// Writes these bytes and closes the connection.
        case answerAndClose(String)
        /// Writes these bytes, and resets the connection a moment later, while it idles.
        case answerAndReset(String)
        /// Writes these bytes and then nothing more, until the client goes away.
        case hang(String)
    }

    private struct State {
        var steps: [Step]
        var requests: [String] = []
        var connections = 0
        var goneClients = 0
        var resets = 0
        var isStopping = false
    }

    let port: UInt16
    private let early: String?
    private let listener: Int32
    private let state: Mutex<State>

    /// Requests in the order they arrived, head and body.
    var requests: [String] { state.withLock { $0.requests } }
    var connections: Int { state.withLock { $0.connections } }
    /// How many clients have gone away while the server hung.
    var goneClients: Int { state.withLock { $0.goneClients } }

    var resets: Int { state.withLock { $0.resets } }

    /// - Parameter early: answers the beginning of a request, whose rest is read more than half a second later.
    init(_ steps: [Step], early: String? = nil) throws {
        let (listener, port) = try Self.listen()
        self.early = early
        self.listener = listener
        self.port = port
        state = Mutex(State(steps: steps))
        startThread { server in
            while let connection = server.accept() {
                server.startThread { $0.serve(connection) }
            }
        }
    }

    var url: String { "http://127.0.0.1:\(port)/hook" }

    /// Ends the thread that accepts. Threads of connections end with their clients.
    func stop() {
        let isFirst = state.withLock { state in
            defer { state.isStopping = true }
            return !state.isStopping
        }
        if isFirst { shutdown(listener, Int32(SHUT_RDWR)) }
    }

    private func accept() -> Int32? {
        var connection = Glibc.accept(listener, nil, nil)
        // Closed before `stop`, its number would be somebody else's by then.
        while connection < 0, !state.withLock({ $0.isStopping }) {
            usleep(1000)
            connection = Glibc.accept(listener, nil, nil)
        }
        guard connection >= 0 else {
            close(listener)
            return nil
        }
        state.withLock { $0.connections += 1 }
        return connection
    }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        if let early { return answer(early, connection) }
        while let request = Self.readRequest(connection) {
            let step = state.withLock { state in
                state.requests.append(request)
                return state.steps.isEmpty ? Step.close : state.steps.removeFirst()
            }
            switch step {
            case .answer(let text):
                Self.write(text, to: connection)
            case .close:
                return
            case .answerAndClose(let text):
                return Self.write(text, to: connection)
            case .answerAndReset(let text):
                Self.write(text, to: connection)
                usleep(100_000)
                var option = linger(l_onoff: 1, l_linger: 0)
                setsockopt(connection, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
                state.withLock { $0.resets += 1 }
                return
            case .hang(let text):
                Self.write(text, to: connection)
                if Self.read(connection)?.isEmpty != false { state.withLock { $0.goneClients += 1 } }
                return
            }
        }
    }
}

// MARK: - Sockets

extension LoopbackServer {
    private func answer(_ early: String, _ connection: Int32) {
        var room: Int32 = 65_536
        setsockopt(connection, SOL_SOCKET, SO_RCVBUF, &room, socklen_t(MemoryLayout<Int32>.size))
        guard let beginning = Self.read(connection) else { return }
        Self.write(early, to: connection)
        usleep(700_000)
        guard let request = Self.readRequest(connection, String(decoding: beginning, as: UTF8.self)) else { return }
        state.withLock { $0.requests.append(request) }
    }

    struct SocketError: Error {
        let code: Int32
    }

    static func listen() throws -> (socket: Int32, port: UInt16) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && Glibc.listen(listener, 64) == 0
                    && getsockname(listener, $0, &length) == 0
            }
        }
        guard isBound else { throw SocketError(code: errno) }
        return (listener, UInt16(bigEndian: address.sin_port))
    }

    /// A whole request, or nil if the client goes away first or two minutes pass.
    private static func readRequest(_ connection: Int32, _ beginning: String = "") -> String? {
        var text = beginning
        while true {
            if let end = text.firstRange(of: "\r\n\r\n")?.upperBound {
                let missing = contentLength(text[..<end]) - text[end...].utf8.count
                if missing <= 0 { return text }
            }
            guard let bytes = read(connection), !bytes.isEmpty else { return nil }
            text += String(decoding: bytes, as: UTF8.self)
        }
    }

    private static func contentLength(_ head: Substring) -> Int {
        let line = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
        return line.flatMap { Int($0.dropFirst("content-length: ".count)) } ?? 0
    }

    /// What arrives next; empty at the end, nil after an error or two minutes.
    private static func read(_ connection: Int32) -> [UInt8]? {
        var wait = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
        guard poll(&wait, 1, 120_000) == 1 else { return nil }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(connection, &buffer, buffer.count, 0)
        return count < 0 ? nil : Array(buffer.prefix(count))
    }

    private static func write(_ text: String, to connection: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes {
                send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}

// MARK: - Threads

extension LoopbackServer {
    private final class Job: Sendable {
        let server: LoopbackServer
        let body: @Sendable (LoopbackServer) -> Void

        init(server: LoopbackServer, body: @escaping @Sendable (LoopbackServer) -> Void) {
            self.server = server
            self.body = body
        }
    }

    private func startThread(_ body: @escaping @Sendable (LoopbackServer) -> Void) {
        let job = Unmanaged.passRetained(Job(server: self, body: body))
        var thread = pthread_t()
        let code = pthread_create(
            &thread,
            nil,
            { context in
                guard let context else { return nil }
                let job = Unmanaged<Job>.fromOpaque(context).takeRetainedValue()
                job.body(job.server)
                return nil
            },
            job.toOpaque()
        )
        guard code == 0 else { return job.release() }
        pthread_detach(thread)
    }
}
