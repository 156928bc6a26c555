import Glibc
import Log
import Synchronization

/// Writes lines to a descriptor from a thread of its own. A pipe that nobody reads stops that thread, and nobody else: who has
/// a line to write never waits for it.
package final class LineWriter: Sendable {
    private struct State {
        var queue: LineQueue
        var isWriting = false

        /// Nil when nothing waits.
        mutating func next() -> [UInt8]? {
            isWriting = !queue.isEmpty
            return isWriting ? queue.take() : nil
        }
    }

    /// Some thousand lines.
    package static let bytesMax = 512 << 10
    private static let look = Duration.milliseconds(2)

    private let descriptor: Int32
    private let state: Mutex<State>
    private let bell = Doorbell()

    /// The thread lives as long as the process.
    package init(_ descriptor: Int32, bytesMax: Int = LineWriter.bytesMax) {
        self.descriptor = descriptor
        state = Mutex(State(queue: LineQueue(bytesMax: bytesMax)))
        _ = DedicatedThread { [self] in run() }
    }

    /// - Parameter line: with its newline.
    package func write(_ line: String) {
        state.withLock { $0.queue.add(line) }
        bell.ring()
    }

    /// Waits until all is written, but no longer than `limit`.
    package func flush(within limit: Duration) {
        let start = BootTime.now
        let nothing = Doorbell()
        while state.withLock({ !$0.queue.isEmpty || $0.isWriting }), BootTime.now.since(start) < limit {
            _ = nothing.wait(timeout: LineWriter.look)
        }
    }

    private func run() {
        // Signals belong to the threads that expect them.
        var signals = sigset_t()
        sigfillset(&signals)
        pthread_sigmask(SIG_SETMASK, &signals, nil)
        while true {
            _ = bell.wait()
            while let bytes = state.withLock({ $0.next() }) { write(bytes) }
        }
    }

    /// What cannot be written, because nobody can read it any more, is given up.
    private func write(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if count == 0 || (errno != EINTR && !(errno == EAGAIN && isWritable())) {
                return
            }
        }
    }

    /// Who shares the descriptor may have set it not to block.
    private func isWritable() -> Bool {
        var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&wanted, 1, -1) >= 0 || errno == EINTR
    }
}

/// What a log handler writes to.
package struct LineStream: TextOutputStream, Sendable {
    private let writer: LineWriter

    package init(_ writer: LineWriter) { self.writer = writer }

    package mutating func write(_ line: String) { writer.write(line) }
}
